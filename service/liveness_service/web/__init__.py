"""The file of the demo page, `index.html`."""
