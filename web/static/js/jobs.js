// Archives: sent with progress, then each row asks for itself (htmx) until its job is over.

import { watchHealth } from "./health.js"
import { watchRows } from "./rows.js"
import { watchZips } from "./zips.js"

const announcer = document.getElementById("announcer")
const announce = (words) => { announcer.textContent = words }

watchHealth(document.getElementById("health"))
watchRows(document.body, announce)
watchZips({
  address: "/jobs",
  list: document.getElementById("jobs"),
  otherwise: "Pack the pictures into one; a few pictures go on the first page.",
  announce,
})
