document.getElementById("main").textContent = "Vintner";
