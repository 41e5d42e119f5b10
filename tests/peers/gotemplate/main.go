// The template judge: renders with Go's own text/template, set up as Matchbox does it (matchbox/http/render.go).
//
// It reads a JSON object per line, {"template": BASE64, "data": JSON, "query": {NAME: VALUE}}. The data is decoded into
// plain interface values, as Matchbox decodes a group's metadata. If there is a query, it becomes `request.query` of the
// data, a map[string]string (matchbox/http/generic.go). The answer is a line {"output": BASE64} or {"error": TEXT}.
//
// With the argument `unicode` it prints what src/format/gotemplate/unicode/tables.rs holds.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/template"
	"unicode"
)

type request struct {
	Template []byte            `json:"template"`
	Data     any               `json:"data"`
	Query    map[string]string `json:"query"`
}

type answer struct {
	Output []byte `json:"output"`
	Error  string `json:"error,omitempty"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "unicode" {
		table("LETTERS", "`unicode.IsLetter`", unicode.IsLetter)
		table("DIGITS", "`unicode.IsDigit`", unicode.IsDigit)
		table("PRINTABLE", "`strconv.IsPrint`", unicode.IsPrint)
		return
	}
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for {
		var ask request
		if err := in.Decode(&ask); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		if err := encoder.Encode(judge(ask)); err != nil {
			panic(err)
		}
		if err := out.Flush(); err != nil {
			panic(err)
		}
	}
}

func judge(ask request) answer {
	if data, ok := ask.Data.(map[string]any); ok && ask.Query != nil {
		data["request"] = map[string]any{"query": ask.Query, "raw_query": "as=received"}
	}
	tmpl, err := template.New("").Option("missingkey=error").Parse(string(ask.Template))
	if err != nil {
		return answer{Error: err.Error()}
	}
	var output bytes.Buffer
	if err := tmpl.Execute(&output, ask.Data); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Output: output.Bytes()}
}

// table prints the code points at which a property begins or ends, in turn.
func table(name, of string, has func(rune) bool) {
	fmt.Printf("/// Where %s begins to hold and where it ends, in turn.\n", of)
	var edges []rune
	inside := false
	for r := rune(0); r <= unicode.MaxRune+1; r++ {
		if now := r <= unicode.MaxRune && has(r); now != inside {
			edges = append(edges, r)
			inside = now
		}
	}
	fmt.Printf("pub(super) static %s: [u32; %d] = [\n", name, len(edges))
	for _, edge := range edges {
		fmt.Printf("%#x,\n", edge)
	}
	fmt.Print("];\n")
}
