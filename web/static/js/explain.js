// "What did it look at?": the heat map of an answer in the place of its picture, and back again.

const ASK = "What did it look at?"
const BACK = "Show the picture"

export function lookButton({ file, picture, signal, onAddress }) {
  const own = { src: picture.src, alt: picture.alt }
  const complaint = document.createElement("span")
  const button = document.createElement("button")
  const row = document.createElement("p")
  let map = null
  complaint.className = "fine job-bad"
  complaint.setAttribute("role", "alert")
  button.type = "button"
  button.className = "quiet"
  button.textContent = ASK
  row.className = "look"
  row.append(button, complaint)
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy")) return
    if (picture.src !== own.src) return show(own, ASK)
    button.setAttribute("aria-busy", "true")
    button.textContent = "Finding out, some seconds"
    complaint.textContent = ""
    try {
      map ??= await ask()
      show(map, BACK)
    } catch (reason) {
      button.textContent = ASK
      complaint.textContent = reason.message
    }
    button.removeAttribute("aria-busy")
  })
  return row

  function show(shown, words) {
    Object.assign(picture, shown)
    picture.closest(".preview").classList.toggle("looked", shown !== own)
    button.textContent = words
  }

  async function ask() {
    const answer = await fetch("/api/explain", { method: "POST", body: file, signal }).catch(() => null)
    if (!answer) throw new Error("I could not reach the service.")
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? "It could not be found out.")
    const src = URL.createObjectURL(await answer.blob())
    onAddress(src)
    return { src, alt: `Where the model looked: ${own.alt.replace(/^Preview of /, "")} in grey, with what spoke for the answer in colour` }
  }
}
