// Streamlit's protocol for a component in a frame: messages to the parent window, one message back for each run of the script.

function send(type, content) {
  window.parent.postMessage({ isStreamlitMessage: true, type: `streamlit:${type}`, ...content }, "*");
}

/** Call `render(args, theme)` whenever the script hands over new arguments. */
export function onRender(render) {
  window.addEventListener("message", (event) => {
    if (event.source === window.parent && event.data.type === "streamlit:render") {
      render(event.data.args, event.data.theme);
    }
  });
  send("componentReady", { apiVersion: 1 });
}

/** Give the frame the height of its content. */
export function setHeight(height) {
  send("setFrameHeight", { height });
}

/** Return a value to the script, which runs again. */
export function setValue(value) {
  send("setComponentValue", { value, dataType: "json" });
}
