// The viewer of the API's document. Swagger UI, as a global, comes from the vendored bundle.

const dark = window.matchMedia("(prefers-color-scheme: dark)")
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches)
dark.addEventListener("change", followScheme)
followScheme()

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#operations",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null, // it would send the document's address to another site
})
