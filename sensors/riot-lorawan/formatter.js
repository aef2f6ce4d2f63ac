// The Things Stack: Applications > (application) > Payload formatters > Uplink > Custom JavaScript formatter.
// Reads what payload.h writes.
function decodeUplink(input) {
  var b = input.bytes
  if (input.fPort !== 1) return { errors: ['unknown port ' + input.fPort] }
  if (b.length !== 5) return { errors: ['5 bytes expected, ' + b.length + ' came'] }
  if (b[0] !== 1) return { errors: ['unknown version ' + b[0]] }
  var centi = (b[1] << 8) | b[2]
  if (centi > 32767) centi -= 65536
  return { data: { temperature: centi / 100, humidity: b[3] / 2, battery: 2 + b[4] / 100 } }
}
