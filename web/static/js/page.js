// The page's wiring. Everything here also works without JavaScript, as a plain form; this makes it pleasant.

import { Cards } from "./cards.js"
import { watchCombobox } from "./combobox.js"
import { watchFeedback } from "./feedback.js"
import { watchHealth } from "./health.js"
import { watchTray } from "./tray.js"
import { Uploads } from "./uploads.js"
import { isZip } from "./zips.js"

const uploads = new Uploads("/")
const cards = new Cards({
  list: document.getElementById("cards"),
  template: document.getElementById("card-template"),
  offline: document.getElementById("offline-template"),
  announcer: document.getElementById("announcer"),
  uploads,
  explains: "explains" in document.getElementById("tray").dataset,
})

const message = document.getElementById("tray-message")
watchTray(document.getElementById("tray"), message, (files) => {
  const zips = files.filter(isZip)
  if (zips.length) message.replaceChildren(`${zips[0].name} is a zip archive: bring it to `, toBulk(), ".")
  cards.add(files.filter((file) => !zips.includes(file)))
})
document.getElementById("clear").addEventListener("click", () => {
  cards.clear()
  document.getElementById("file").focus()
})
watchFeedback((element) => cards.fileOf(element), document.getElementById("tray").dataset.keepImages !== "none")
watchCombobox(document.getElementById("cards"))
watchHealth(document.getElementById("health"))

function toBulk() {
  const link = document.createElement("a")
  link.href = "/jobs"
  link.textContent = "Bulk"
  return link
}
