module server
require example.org/router v1.2.3
