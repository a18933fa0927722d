package mysql

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// fileName is the name of a table or a database as InnoDB lists it, which is that of its file: ASCII letters, digits and underscores
// stand for themselves, about 1,500 letters of other alphabets are two signs behind an @, and all else is @ with four hexadecimal digits
// (manual, Mapping of Identifiers to File Names). What Windows keeps for devices has three more signs, on every system.
func fileName(name string) string {
	var b strings.Builder
	for _, c := range name {
		switch short := letters()[c]; {
		case c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z':
			b.WriteRune(c)
		case short != "":
			b.WriteString("@" + short)
		default:
			fmt.Fprintf(&b, "@%04x", c)
		}
	}
	if device.MatchString(b.String()) {
		b.WriteString("@@@")
	}
	return b.String()
}

var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[1-9]|lpt[1-9])$`)

// shortened are sixteen letters a line, behind the first one's number: the two signs of each, or two dots. The manual tells the
// ranges and no more, so these are read off a server (TestFileNames asks all of them again).
//
//go:embed letters.txt
var shortened string

var letters = sync.OnceValue(func() map[rune]string {
	out := map[rune]string{}
	for line := range strings.Lines(shortened) {
		list := strings.Fields(line)
		first, err := strconv.ParseUint(list[0], 16, 16)
		if err != nil {
			panic("letters.txt: " + err.Error())
		}
		for i, short := range list[1:] {
			if short != ".." {
				out[rune(first)+rune(i)] = short
			}
		}
	}
	return out
})
