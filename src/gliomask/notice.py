"""What every result and every page says of the program; by itself, so that a page shows it before anything else is loaded."""

NOTICE = "Research software, not a medical device: not for diagnosis or treatment."
