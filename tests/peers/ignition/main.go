// The Ignition judge: validates and merges many configs in one process with Ignition's own packages.
//
// It reads a JSON object per line, {"configs": [TEXT, ...]}. Each config is parsed and raised to the newest spec as
// Ignition does at boot, and they are merged in order. The answer is a line
// {"merged": TEXT, "verdicts": [{"error": TEXT, "entries": [{"kind", "message", "path", "line"}]}]}, where `merged` is
// empty if one of them is not valid.
//
// With arguments it merges the files that they name and prints the result, for the race in benches/.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/coreos/ignition/v2/config"
	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

type request struct {
	Configs []string `json:"configs"`
}

type entry struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Path    string `json:"path"`
	Line    int64  `json:"line"`
}

type verdict struct {
	Error   string  `json:"error"`
	Entries []entry `json:"entries"`
}

type answer struct {
	Merged   string    `json:"merged"`
	Verdicts []verdict `json:"verdicts"`
}

func main() {
	if len(os.Args) > 1 {
		mergeFiles(os.Args[1:])
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
		if err := encoder.Encode(judge(ask.Configs)); err != nil {
			panic(err)
		}
		if err := out.Flush(); err != nil {
			panic(err)
		}
	}
}

func judge(texts []string) answer {
	reply := answer{Verdicts: []verdict{}}
	var merged *types.Config
	valid := true
	for _, text := range texts {
		parsed, report, err := config.Parse([]byte(text))
		result := verdict{Entries: []entry{}}
		if err != nil {
			result.Error = err.Error()
			valid = false
		}
		for _, found := range report.Entries {
			line, _ := found.Marker.Start()
			result.Entries = append(result.Entries, entry{found.Kind.String(), found.Message, found.Context.String(), line})
		}
		reply.Verdicts = append(reply.Verdicts, result)
		if merged == nil {
			merged = &parsed
		} else {
			both := latest.Merge(*merged, parsed)
			merged = &both
		}
	}
	if valid && merged != nil {
		reply.Merged = marshal(*merged)
	}
	return reply
}

func mergeFiles(names []string) {
	texts := []string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			panic(err)
		}
		texts = append(texts, string(text))
	}
	fmt.Println(judge(texts).Merged)
}

func marshal(merged types.Config) string {
	text, err := json.Marshal(merged)
	if err != nil {
		panic(err)
	}
	return string(text)
}
