// The cards: one per picture, newest first, from its preview to its answer or its reason.

import { lookButton } from "./explain.js"

const KEPT_CARDS = 36 // four full choices; older cards leave, so that a long day does not fill the memory
const RETRY_HELPS = new Set([0, 429, 502, 503, 504])

export class Cards {
  #list
  #template
  #offline
  #announcer
  #uploads
  #explains
  #cards = new Map() // element -> {file, addresses, abort}

  constructor({ list, template, offline, announcer, uploads, explains }) {
    this.#list = list
    this.#template = template
    this.#offline = offline
    this.#announcer = announcer
    this.#uploads = uploads
    this.#explains = explains
  }

  add(files) {
    const elements = files.map((file) => this.#make(file))
    this.#list.prepend(...elements)
    while (this.#list.children.length > KEPT_CARDS) this.#remove(this.#list.lastElementChild)
    for (const element of elements) this.#classify(element)
  }

  clear() {
    for (const element of [...this.#list.children]) this.#remove(element)
    this.#announcer.replaceChildren()
  }

  fileOf(element) {
    return this.#cards.get(element.closest(".card"))?.file
  }

  #make(file) {
    const element = this.#template.content.firstElementChild.cloneNode(true)
    const address = URL.createObjectURL(file)
    const picture = element.querySelector("img")
    const remove = element.querySelector(".remove")
    this.#cards.set(element, { file, addresses: [address], abort: new AbortController() })
    element.setAttribute("aria-label", file.name)
    element.querySelector(".file-name").textContent = file.name
    element.querySelector(".file-name").title = file.name
    picture.alt = `Preview of ${file.name}`
    picture.addEventListener("error", () => picture.remove())
    picture.src = address
    remove.setAttribute("aria-label", `Remove ${file.name}`)
    remove.addEventListener("click", () => this.#removeByHand(element))
    return element
  }

  #removeByHand(element) {
    const next = element.nextElementSibling ?? element.previousElementSibling
    const focus = next?.querySelector(".remove") ?? document.getElementById("file")
    this.#remove(element)
    focus.focus()
  }

  #remove(element) {
    const card = this.#cards.get(element)
    this.#cards.delete(element)
    element.remove()
    if (!card) return // one that came with the page
    card.abort.abort()
    card.addresses.forEach((address) => URL.revokeObjectURL(address))
  }

  async #classify(element) {
    const { file, abort } = this.#cards.get(element)
    this.#wait(element)
    const onProgress = (share) => this.#progress(element, share)
    try {
      this.#show(element, await this.#uploads.send(file, { signal: abort.signal, onProgress }))
    } catch (reason) {
      if (!abort.signal.aborted) throw reason // else the card is gone, nobody waits
    }
  }

  #wait(element) {
    element.dataset.state = "waiting"
    element.setAttribute("aria-busy", "true")
    const waiting = this.#template.content.querySelector(".waiting").cloneNode(true)
    element.querySelector(".result").replaceChildren(waiting)
  }

  #progress(element, share) {
    const bar = element.querySelector("progress")
    const words = element.querySelector(".waiting-words")
    if (!bar) return
    if (share < 1) {
      bar.value = share * 100
      words.textContent = `Sending, ${Math.round(share * 100)} %`
    } else {
      bar.removeAttribute("value") // how long the model takes is not known
      bar.setAttribute("aria-label", "Waiting for the answer")
      words.textContent = "Looking"
    }
  }

  #show(element, { status, html }) {
    const result = element.querySelector(".result")
    element.removeAttribute("aria-busy")
    if (status === 0) result.replaceChildren(this.#offline.content.cloneNode(true))
    else htmx.swap(result, html, { swapStyle: "innerHTML" })
    const readout = result.querySelector(".readout")
    element.dataset.state = readout ? "answered" : "failed"
    element.querySelector(".facts").textContent = readout?.dataset.facts ?? ""
    if (!readout && RETRY_HELPS.has(status)) result.append(this.#retryButton(element))
    if (readout && this.#explains) this.#offerToExplain(element, readout)
    const said = readout?.dataset.said ?? result.querySelector(".problem-title")?.textContent
    this.#announce(`${this.#cards.get(element).file.name}: ${said}`)
  }

  #offerToExplain(element, readout) {
    const picture = element.querySelector(".preview img") // not there when the browser cannot draw it
    const { file, addresses, abort } = this.#cards.get(element)
    const onAddress = (address) => addresses.push(address)
    if (picture) readout.querySelector(".receipt").before(lookButton({ file, picture, signal: abort.signal, onAddress }))
  }

  #retryButton(element) {
    const button = document.createElement("button")
    button.type = "button"
    button.className = "quiet retry"
    button.textContent = "Try again"
    button.addEventListener("click", () => {
      this.#classify(element)
      element.querySelector(".remove").focus() // the button is gone; stay in the card
    })
    return button
  }

  #announce(words) {
    const line = document.createElement("span")
    line.textContent = `${words}. `
    this.#announcer.append(line)
    while (this.#announcer.children.length > 9) this.#announcer.firstElementChild.remove()
  }
}
