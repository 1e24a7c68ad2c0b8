// The page's wiring. Everything here also works without JavaScript, as a plain form; this makes it pleasant.

import { Cards } from "./cards.js"
import { watchCombobox } from "./combobox.js"
import { watchFeedback } from "./feedback.js"
import { watchHealth } from "./health.js"
import { watchTray } from "./tray.js"
import { Uploads } from "./uploads.js"

const uploads = new Uploads("/")
const cards = new Cards({
  list: document.getElementById("cards"),
  template: document.getElementById("card-template"),
  offline: document.getElementById("offline-template"),
  announcer: document.getElementById("announcer"),
  uploads,
  explains: "explains" in document.getElementById("tray").dataset,
})

watchTray(document.getElementById("tray"), document.getElementById("tray-message"), (files) => cards.add(files))
document.getElementById("clear").addEventListener("click", () => {
  cards.clear()
  document.getElementById("file").focus()
})
watchFeedback((element) => cards.fileOf(element), document.getElementById("tray").dataset.keepImages !== "none")
watchCombobox(document.getElementById("cards"))
watchHealth(document.getElementById("health"))
