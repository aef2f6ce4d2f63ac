const list = document.getElementById("sensors");
for (const sensor of await (await fetch("api/sensors")).json()) {
    const item = document.createElement("li");
    item.textContent = `${sensor.sensor}: ${JSON.stringify(sensor.values)}`;
    list.append(item);
}
