// Starts dynalite in memory on a free port (argument 1) of the loopback interface (argument 2), prints the port, and ends when standard input does
// (that is, with the test that started it).
const dynalite = require('dynalite')

const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
server.listen(Number(process.argv[2] || 0), process.argv[3] || '127.0.0.1', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit(0))
process.stdin.resume()
