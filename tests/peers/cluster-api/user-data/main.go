// user-data does two steps that the user data of a machine goes through between Cluster API and Ignition, each by its own library:
//
//	user-data enrich HOSTNAME UUID MAC ADDRESS/PREFIX GATEWAY DNS   what Proxmox VE's provider adds before it writes the ISO
//	user-data translate                                             2.3 to 3.0, for an Ignition that is not Flatcar's
//
// Standard input is a config of Ignition's specification 2.3. What the old one's parser reports goes to standard error.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/coreos/ign-converter/translate/v23tov30"
	"github.com/coreos/ignition/config/v2_3"
	"github.com/ionos-cloud/cluster-api-provider-proxmox/pkg/ignition"
	"github.com/ionos-cloud/cluster-api-provider-proxmox/pkg/network"
)

// enrich fills in what internal/service/vmservice/bootstrap.go takes from IPAM's addresses for a machine with one card.
func enrich(raw []byte, args []string) error {
	if len(args) != 6 {
		return errors.New("enrich takes 6 arguments")
	}
	address, err := netip.ParsePrefix(args[3])
	if err != nil {
		return err
	}
	gateway, err := netip.ParseAddr(args[4])
	if err != nil {
		return err
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	enricher := ignition.Enricher{
		BootstrapData: raw,
		Hostname:      args[0],
		InstanceID:    args[1],
		ProviderID:    "proxmox://" + args[1],
		Network: []network.ConfigData{{
			Name:       "eth0",
			Type:       network.TypeEthernet,
			MacAddress: args[2],
			IPConfigs:  []network.IPConfig{{IPAddress: address, Default: true}},
			DNSServers: []string{args[5]},
			Routes:     []network.RoutingData{{To: everywhere, Via: gateway}},
		}},
	}
	config, reports, err := enricher.Enrich()
	if err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, reports)
	_, err = os.Stdout.Write(config)
	return err
}

func translate(raw []byte) error {
	old, report, err := v2_3.Parse(raw)
	if len(report.Entries) > 0 {
		fmt.Fprint(os.Stderr, report.String())
	}
	if err != nil {
		return fmt.Errorf("2.3: %w", err)
	}
	fresh, err := v23tov30.Translate(old, map[string]string{"root": "/"})
	if err != nil {
		return fmt.Errorf("3.0: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(fresh)
}

func run(args []string) error {
	raw, err := io.ReadAll(os.Stdin)
	switch {
	case err != nil:
		return err
	case len(args) > 0 && args[0] == "enrich":
		return enrich(raw, args[1:])
	case len(args) == 1 && args[0] == "translate":
		return translate(raw)
	}
	return errors.New("enrich or translate")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
