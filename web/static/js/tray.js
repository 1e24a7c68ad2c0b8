// Four ways to bring pictures: choose, drop anywhere, paste anywhere, click an example.

export function watchTray(form, message, bring) {
  const most = Number(form.dataset.max)
  const input = form.querySelector("input[type=file]")

  function take(files) {
    const all = [...files]
    message.textContent = all.length > most ? `That was ${all.length} ${form.dataset.things ?? "pictures"}. I took the first ${most}.` : ""
    bring(all.slice(0, most))
  }

  input.addEventListener("change", () => {
    if (input.files.length) take(input.files)
    input.value = "" // so that the same picture can be chosen again
  })
  form.addEventListener("submit", (event) => event.preventDefault())
  for (const button of form.querySelectorAll(".example")) {
    button.addEventListener("click", () => fetchExample(button).then((file) => take([file]), () => {
      message.textContent = "I could not fetch that example. Is the service up?"
    }))
  }
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return // text goes where it was meant to go
    event.preventDefault()
    take(event.clipboardData.files)
  })
  watchDrop(take)
}

async function fetchExample(button) {
  const answer = await fetch(button.querySelector("img").src)
  if (!answer.ok) throw new Error(`status ${answer.status}`)
  return new File([await answer.blob()], `${button.value}.png`, { type: "image/png" })
}

function watchDrop(take) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files")
  const highlight = (on) => document.body.classList.toggle("dragging", on)

  window.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return
    event.preventDefault()
    event.dataTransfer.dropEffect = "copy"
    highlight(true)
  })
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) highlight(false) // null: the pointer has left the window
  })
  window.addEventListener("drop", (event) => {
    highlight(false)
    if (!carriesFiles(event)) return
    event.preventDefault()
    if (event.dataTransfer.files.length) take(event.dataTransfer.files)
  })
}
