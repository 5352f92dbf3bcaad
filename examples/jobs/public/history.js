"use strict";

// Keeps the lists fresh, but for when somebody is about to press something in them.
const lists = document.getElementById("lists");

setInterval(async () => {
  if (document.hidden || lists.contains(document.activeElement)) return;
  const response = await fetch("/history/lists").catch(() => null);
  if (response?.ok) lists.innerHTML = await response.text(); // escaped by the server
}, 2000);
