// Search runs in a worker, and browsers start none for a page that was opened as a file: a hidden frame stands in for it.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.srcdoc = "<!doctype html>"
      this.started = new Promise(started => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow
          inside.postMessage = data => this.onmessage?.(new MessageEvent("message", {data}))
          const script = inside.document.createElement("script")
          script.src = url
          script.onload = () => started(inside)
          script.onerror = error => this.onerror?.(error)
          inside.document.body.append(script)
        }
      })
      document.body.append(this.frame)
    }

    postMessage(data) {
      this.started.then(inside => inside.dispatchEvent(new inside.MessageEvent("message", {data})))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
