// Command program prints what is compiled into it.
package main

import "fmt"

var text = "the default"

func main() { fmt.Println(text) }
