// Pictures on their way to the service, a few at a time, with progress. Knows no page.

const AT_ONCE = 4 // browsers open six connections to a host: two stay free for the rest of the page

export class Uploads {
  #address
  #waiting = []
  #running = new Set()

  constructor(address) {
    this.#address = address
  }

  // Resolves to {status, html}; status 0 means the service was not reached. Rejects with the signal's reason.
  send(file, { signal, onProgress }) {
    return new Promise((resolve, reject) => {
      const job = { file, signal, onProgress, resolve }
      signal.addEventListener("abort", () => {
        reject(signal.reason) // first: an aborted request reports its end at once
        this.#waiting = this.#waiting.filter((other) => other !== job)
        job.request?.abort()
      }, { once: true })
      this.#waiting.push(job)
      this.#next()
    })
  }

  #next() {
    if (this.#running.size >= AT_ONCE || !this.#waiting.length) return
    const job = this.#waiting.shift()
    this.#running.add(job)
    this.#post(job)
  }

  #post(job) {
    const request = (job.request = new XMLHttpRequest()) // fetch has no upload progress
    const form = new FormData()
    form.append("file", job.file, job.file.name)
    request.upload.addEventListener("progress", (event) => job.onProgress(event.loaded / (event.total || 1)))
    request.upload.addEventListener("load", () => job.onProgress(1))
    request.addEventListener("loadend", () => {
      this.#end(job)
      job.resolve({ status: request.status, html: request.responseText })
    })
    request.open("POST", this.#address)
    request.setRequestHeader("HX-Request", "true")
    request.send(form)
    job.onProgress(0)
  }

  #end(job) {
    if (this.#running.delete(job)) this.#next()
  }
}
