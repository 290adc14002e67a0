# For scripts that start servers: free_ports N prints so many ports of the loopback on which nobody listens, one a line.
# Another program may take one meanwhile: then the server does not start, and the script begins again with others.
free_ports() {
  python3 -c 'import socket, sys
all = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in all: each.bind(("127.0.0.1", 0))
for each in all: print(each.getsockname()[1])' "$1"
}
