// Zip archives on their way to the service: each gets a row at the top of `list`, with progress, until its own comes.

import { watchTray } from "./tray.js"
import { Uploads } from "./uploads.js"

export const isZip = (file) => /\.zip$/i.test(file.name) || /zip/.test(file.type)

export function watchZips({ address, list, otherwise, announce, onArrived = () => {} }) {
  const uploads = new Uploads(address)
  const form = document.getElementById("zips")
  const message = document.getElementById("zips-message")

  watchTray(form, message, (files) => {
    for (const file of files) if (fits(file)) send(file)
  })

  function fits(file) {
    if (!isZip(file)) {
      message.textContent = `${file.name} is no zip. ${otherwise}`
    } else if (file.size > Number(form.dataset.maxBytes)) {
      message.textContent = `${file.name} is too large: the limit is ${form.dataset.maxBytes / 2 ** 20} MiB. Split it.`
    } else return true
    return false
  }

  async function send(file) {
    const row = document.getElementById("upload-template").content.firstElementChild.cloneNode(true)
    const abort = new AbortController()
    row.querySelector(".job-name").textContent = file.name
    const stop = row.querySelector(".stop")
    stop.setAttribute("aria-label", `Cancel ${file.name}`)
    stop.addEventListener("click", () => {
      abort.abort()
      row.remove()
      document.getElementById("zip").focus()
    })
    list.prepend(row)
    try {
      const answer = await uploads.send(file, { signal: abort.signal, onProgress: (share) => progress(row, share) })
      show(row, file, answer)
    } catch (reason) {
      if (!abort.signal.aborted) throw reason // else the row is gone, nobody waits
    }
  }

  function show(row, file, { status, html }) {
    if (status >= 200 && status < 300) {
      htmx.swap(row, html, { swapStyle: "innerHTML" })
      announce(`${file.name} has arrived.`)
      onArrived(row)
      return
    }
    row.querySelector(".job").dataset.state = "refused"
    row.querySelector("progress").remove()
    const said = row.querySelector(".job-said")
    if (status === 0) said.replaceWith(document.getElementById("offline-template").content.cloneNode(true))
    else htmx.swap(said, html, { swapStyle: "outerHTML" })
    row.querySelector(".stop").textContent = "Close"
    announce(`${file.name}: ${row.querySelector(".problem-title")?.textContent}`)
  }
}

function progress(row, share) {
  const bar = row.querySelector("progress")
  if (share < 1) bar.value = share * 100
  else bar.removeAttribute("value") // how long the disk takes is not known
  row.querySelector(".job-state").textContent = share < 1 ? "Sending" : "Storing"
  row.querySelector(".sent").textContent = share < 1 ? `${Math.round(share * 100)} %` : ""
}
