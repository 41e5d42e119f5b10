// The Butane judge: translates many configs in one process.
//
// It reads a JSON object per line, {"config": TEXT, "files_dir": PATH}, and answers each with a line
// {"ignition": TEXT, "error": TEXT, "entries": [{"kind", "message", "path", "line"}]}.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
)

type request struct {
	Config   string `json:"config"`
	FilesDir string `json:"files_dir"`
}

type entry struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Path    string `json:"path"`
	Line    int64  `json:"line"`
}

type answer struct {
	Ignition string  `json:"ignition"`
	Error    string  `json:"error"`
	Entries  []entry `json:"entries"`
}

func main() {
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
		options := common.TranslateBytesOptions{}
		options.FilesDir = ask.FilesDir
		translated, report, err := config.TranslateBytes([]byte(ask.Config), options)
		reply := answer{Ignition: string(translated), Entries: []entry{}}
		if err != nil {
			reply.Error = err.Error()
		}
		for _, found := range report.Entries {
			line, _ := found.Marker.Start()
			reply.Entries = append(reply.Entries, entry{found.Kind.String(), found.Message, found.Context.String(), line})
		}
		if err := encoder.Encode(reply); err != nil {
			panic(err)
		}
		if err := out.Flush(); err != nil {
			panic(err)
		}
	}
}
