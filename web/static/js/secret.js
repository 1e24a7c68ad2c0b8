// What is shown only once is selected as soon as it has the focus, ready to be copied.

for (const field of document.querySelectorAll(".secret")) {
  field.addEventListener("focus", () => field.select())
  if (field === document.activeElement) field.select()
}
