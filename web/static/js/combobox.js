// The typeahead, as the ARIA Authoring Practices describe an editable combobox with list autocomplete.

const PAUSE_MS = 120 // long enough to skip the letters of a fast typist, too short to notice

export function watchCombobox(root) {
  root.addEventListener("input", (event) => isBox(event.target) && search(event.target))
  root.addEventListener("keydown", (event) => isBox(event.target) && press(event))
  root.addEventListener("focusout", (event) => isBox(event.target) && close(event.target))
  root.addEventListener("mousedown", (event) => {
    const option = event.target.closest("[role=option]")
    if (!option) return
    event.preventDefault() // the box keeps the focus
    if (option.dataset.value) choose(boxOf(option), option)
  })
}

const isBox = (element) => element.matches("[role=combobox]")
const listOf = (box) => document.getElementById(box.getAttribute("aria-controls"))
const boxOf = (option) => option.closest(".combobox").querySelector("[role=combobox]")
const searches = new WeakMap() // box -> AbortController of the search under way

async function search(box) {
  searches.get(box)?.abort()
  const abort = new AbortController()
  searches.set(box, abort)
  await new Promise((done) => setTimeout(done, PAUSE_MS))
  if (abort.signal.aborted || !box.value.trim()) return abort.signal.aborted || close(box)
  try {
    const answer = await fetch(`/labels?q=${encodeURIComponent(box.value)}`, { signal: abort.signal })
    if (answer.ok) open(box, await answer.text())
  } catch {
    // Typed on, closed, or offline: a label can be typed in full as well.
  }
}

function open(box, html) {
  const list = listOf(box)
  if (!list || document.activeElement !== box) return
  list.innerHTML = html // the service's own escaped fragment
  for (const [n, option] of [...list.children].entries()) option.id = `${list.id}-${n}`
  list.hidden = false
  box.setAttribute("aria-expanded", "true")
  mark(box, null)
  list.scrollIntoView({ block: "nearest" })
}

function close(box) {
  searches.get(box)?.abort()
  const list = listOf(box)
  if (list) list.hidden = true
  box.setAttribute("aria-expanded", "false")
  box.removeAttribute("aria-activedescendant")
}

function press(event) {
  const box = event.target
  const list = listOf(box)
  if (list.hidden) {
    if (event.key === "ArrowDown") search(box)
    return
  }
  const options = [...list.querySelectorAll("[data-value]")]
  const at = options.findIndex((option) => option.id === box.getAttribute("aria-activedescendant"))
  if (event.key === "ArrowDown") mark(box, options[(at + 1) % options.length])
  else if (event.key === "ArrowUp") mark(box, options.at(at < 1 ? -1 : at - 1))
  else if (event.key === "Enter" && at >= 0) choose(box, options[at])
  else if (event.key === "Escape") close(box)
  else return
  event.preventDefault()
}

function mark(box, option) {
  for (const other of listOf(box).children) other.setAttribute("aria-selected", String(other === option))
  if (!option) return box.removeAttribute("aria-activedescendant")
  box.setAttribute("aria-activedescendant", option.id)
  option.scrollIntoView({ block: "nearest" })
}

function choose(box, option) {
  box.value = option.textContent
  close(box)
}
