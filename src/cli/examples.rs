//! An example for every verb, in its help and in its manual page.

use clap::Command;

/// A command, and its purpose.
pub(super) type Example = (&'static str, &'static str);

/// Verbs with their examples, the most usual first. Each command is one that this prebake takes.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "new",
        &[
            ("prebake new rack --ssh-key ~/.ssh/id_ed25519.pub", "A first recipe, in a new directory"),
            (
                "prebake new rack --kubernetes --control d4:ae:52:c1:00:01 --worker d4:ae:52:c1:00:11",
                "Machines that run Kubernetes",
            ),
            ("prebake new site --from matchbox /var/lib/matchbox", "The recipe of a Matchbox data directory"),
            #[cfg(feature = "cluster")]
            ("prebake new edge --for-cluster", "A cluster.yaml, to write machines into"),
        ],
    ),
    (
        "cluster init",
        &[
            (
                "prebake cluster init",
                "From ./cluster.yaml to output/kubeconfig; the same command goes on after an interruption",
            ),
            (
                "prebake cluster init --bundle edge.tar --trust site.pub",
                "Without the internet: the tree comes from a bundle",
            ),
            ("prebake cluster init --keep-serving", "And go on serving, for machines that run from memory"),
        ],
    ),
    ("cluster serve", &[("prebake cluster serve", "The boot server of a cluster that was formed")]),
    (
        "cluster add",
        &[(
            "prebake cluster add --node w3",
            "A node that was added to cluster.yaml, into the cluster that runs",
        )],
    ),
    (
        "cluster replace",
        &[("prebake cluster replace --node c2", "A new machine takes the place of a dead one")],
    ),
    ("cluster doctor", &[("prebake cluster doctor", "What would keep machines from booting here")]),
    (
        "cluster teardown",
        &[
            ("prebake cluster teardown", "Stop the servers, and take back what machines join with"),
            ("prebake cluster teardown --destroy", "And delete the cluster's keys, after its name was typed"),
        ],
    ),
    (
        "sysext new",
        &[("prebake sysext new tools", "The folder of a sysext of your own, with its description")],
    ),
    (
        "nodes import",
        &[
            ("prebake nodes import rack.csv --profile worker", "Lines for `nodes:`, to look at"),
            (
                "prebake nodes import devices.json nics.json --interface eno1 --profile worker --into edge.yaml",
                "NetBox's devices and interfaces, into the recipe, whose comments stay",
            ),
            (
                "prebake nodes import /var/lib/misc/dnsmasq.leases --subnet 10.0.0.0/24 --into site/nodes.yaml",
                "Those that dnsmasq gave addresses, into an inventory",
            ),
        ],
    ),
    (
        "nodes adopt",
        &[
            ("prebake nodes adopt --server 10.0.0.1:8080", "The lines of all machines that no node names"),
            (
                "prebake nodes adopt --server 10.0.0.1:8080 --mac d4:ae:52:c1:00:90 --profile node --into edge.yaml",
                "One of them, into the recipe",
            ),
        ],
    ),
    #[cfg(feature = "cluster")]
    (
        "capi run",
        &[
            (
                "prebake capi run -s env.enc.yaml -- clusterctl init --infrastructure proxmox --ipam in-cluster",
                "A management cluster, with encrypted inputs",
            ),
            (
                "prebake capi run -s env.enc.yaml output/site/current -- clusterctl generate cluster ops -f flatcar",
                "A cluster's manifests from a tree, without internet",
            ),
        ],
    ),
    (
        "capi config",
        &[(
            "prebake capi config output/site/current > ~/.cluster-api/clusterctl.yaml",
            "A tree's providers for a clusterctl that you call yourself",
        )],
    ),
    (
        "capi convert",
        &[(
            "prebake capi convert old.yaml -o new.yaml",
            "Manifests with today's fields, their comments kept",
        )],
    ),
    #[cfg(feature = "cluster")]
    (
        "capi doctor",
        &[
            ("prebake capi doctor cluster.yaml --built output/site/current", "Manifests against a tree"),
            (
                "prebake capi doctor cluster.yaml --kubeconfig mgmt.kubeconfig",
                "Against a management cluster, too",
            ),
        ],
    ),
    #[cfg(feature = "cluster")]
    (
        "cluster validate",
        &[
            ("prebake cluster validate", "Everything that is wrong with cluster.yaml, with line and column"),
            (
                "sops decrypt cluster.yaml | prebake cluster validate -",
                "One that is encrypted for something other than age",
            ),
        ],
    ),
    ("nodes ls", &[("prebake nodes ls recipes/edge.yaml", "The machines of a recipe")]),
    (
        "capi vendor",
        &[(
            "prebake capi vendor recipes/capi-proxmox.yaml",
            "What the recipe's output `capi` publishes, fetched once and recorded",
        )],
    ),
    (
        "mirror",
        &[
            (
                "prebake mirror recipes/edge.yaml -o /srv/mirror",
                "All that the recipe's lock needs, as mirrors have it",
            ),
            ("prebake mirror recipes/edge.lock -o /srv/mirror", "The same, of a lock without its recipe"),
        ],
    ),
    (
        "schema",
        &[
            ("prebake schema", "The files that have a schema"),
            ("prebake schema recipe > recipe.schema.json", "A JSON Schema, for editors"),
        ],
    ),
    (
        "cluster addons vendor",
        &[
            (
                "prebake cluster addons vendor metallb",
                "MetalLB's manifest, into addons/metallb beside cluster.yaml",
            ),
            (
                "prebake cluster addons vendor own --url https://example.org/own.yaml",
                "Any manifest, with a record of its digest",
            ),
        ],
    ),
    (
        "cluster status",
        &[
            ("prebake cluster status", "The cluster of cluster.yaml"),
            ("prebake cluster status --kubeconfig ~/.kube/config", "Any cluster"),
        ],
    ),
    (
        "cluster wait",
        &[
            ("prebake cluster wait", "Until the cluster of cluster.yaml is ready"),
            (
                "prebake cluster wait --kubeconfig admin.conf --count 3 --timeout 20m",
                "Any cluster, until three nodes and its add-ons are",
            ),
        ],
    ),
    (
        "boot",
        &[
            (
                "prebake boot output/edge/current --node worker-1",
                "One machine in QEMU, with its console here",
            ),
            (
                "prebake boot output/edge/current --profile worker --firmware uefi --disk 20GiB",
                "A profile, with UEFI and an empty disk",
            ),
            (
                "prebake boot output/edge/current --node worker-1 --direct --timeout 10m --log boot.txt < /dev/null",
                "For scripts: without DHCP and iPXE, and for ten minutes at most",
            ),
        ],
    ),
    (
        "logs",
        &[
            ("prebake logs --mac worker-1", "All that the server noticed of one machine"),
            ("prebake logs --server boot:8080 --follow", "Of all machines, as it comes"),
        ],
    ),
    (
        "prune",
        &[
            ("prebake prune --keep 2 --dry-run", "Which builds would go, and how much room that makes"),
            ("prebake prune --keep 2", "Keep what is current and the two newest builds of each recipe"),
        ],
    ),
    (
        "plan",
        &[
            ("prebake plan recipes/kubernetes.yaml", "What would a build fetch, build and publish?"),
            (
                "prebake plan recipes/kubernetes.yaml --locked --exit-code",
                "In CI: 0 nothing to do, 10 pending, 9 the lock is stale",
            ),
        ],
    ),
    (
        "lock",
        &[
            (
                "prebake lock recipes/kubernetes.yaml",
                "Write the lock, or bring it up to date with the recipe",
            ),
            (
                "prebake lock recipes/kubernetes.yaml --update flatcar",
                "Move to the channel's current release, and leave all else",
            ),
        ],
    ),
    (
        "build",
        &[
            ("prebake build recipes/kubernetes.yaml", "Build and publish below output/kubernetes"),
            (
                "prebake build recipes/kubernetes.yaml --locked --offline",
                "From the store alone, never moving the lock",
            ),
            (
                "prebake build recipes/kubernetes.yaml --layer debug.bu -o /tmp/try",
                "Try a change on top of every profile, elsewhere",
            ),
        ],
    ),
    (
        "serve",
        &[
            ("prebake serve output/kubernetes/current --address :8080", "Serve a build to the network"),
            (
                "sudo prebake serve output/kubernetes/current --address :8080 --interface eth1 --proxy-dhcp --tftp",
                "Boot machines, beside the DHCP server that is there",
            ),
            (
                "prebake serve --matchbox /var/lib/matchbox --address :8080",
                "In Matchbox's place, with its data directory",
            ),
        ],
    ),
    (
        "status",
        &[
            ("prebake status --watch", "Follow the machines of the server on this host"),
            (
                "prebake status --server boot.example:8080 --wait booted --count 3",
                "Until three machines are up",
            ),
        ],
    ),
    (
        "explain",
        &[
            (
                "prebake explain output/kubernetes/current --mac 52:54:00:12:34:56",
                "What would this machine get, and why?",
            ),
            (
                "prebake explain --server boot.example:8080 --mac 52:54:00:12:34:56",
                "The same of a running server",
            ),
            (
                "prebake explain --matchbox lib --assets-path output/edge/current/assets --mac 52:54:00:12:34:56",
                "The same of a Matchbox data directory whose assets are a tree's",
            ),
        ],
    ),
    (
        "diff",
        &[(
            "prebake diff output/kubernetes/0123456789abcdef output/kubernetes/current",
            "What does the new build change?",
        )],
    ),
    (
        "verify",
        &[
            ("prebake verify output/kubernetes/current", "Is every byte as it was published?"),
            (
                "prebake verify output/kubernetes/current --closure --base-url http://boot.example:8080",
                "Would machines need anything from elsewhere?",
            ),
        ],
    ),
    (
        "release show",
        &[
            ("prebake release show", "The current stable release, its files and their signer"),
            (
                "prebake release show beta --arch arm64 --json",
                "Another channel and architecture, for a program",
            ),
        ],
    ),
    (
        "sysext build",
        &[(
            "prebake sysext build kubernetes --arch amd64 --arch arm64",
            "Images and SHA256SUMS below output/sysext",
        )],
    ),
    (
        "sysext extract",
        &[("prebake sysext extract kubernetes.raw -o kubernetes.d", "Look into an image without root")],
    ),
    (
        "sysext inspect",
        &[("prebake sysext inspect kubernetes.raw", "Name, version, files and signature of an image")],
    ),
    (
        "sysext key generate",
        &[("prebake sysext key generate -o keys", "keys/sysext.key and keys/sysext.crt")],
    ),
    (
        "sysext lint",
        &[
            (
                "prebake sysext lint kubernetes.raw --target 4593.2.5",
                "Would this image work on that release?",
            ),
            (
                "prebake sysext lint recipes/kubernetes.yaml --strict",
                "Do the sysexts of each machine go together?",
            ),
        ],
    ),
    ("sysext ls", &[("prebake sysext ls", "Names for `sysexts:` of a recipe")]),
    (
        "ignition transpile",
        &[("prebake ignition transpile node.bu --pretty --output node.ign", "As `butane` does")],
    ),
    (
        "ignition merge",
        &[(
            "prebake ignition merge base.bu node.bu --output node.ign",
            "One config of several; the last wins",
        )],
    ),
    (
        "ignition validate",
        &[(
            "prebake ignition validate node.ign --target stable --pxe",
            "Would it work at a PXE boot of this channel?",
        )],
    ),
    ("ignition show", &[("prebake ignition show node.ign", "Users, units, files and disks for people")]),
    ("ignition closure", &[("prebake ignition closure node.ign", "What does Ignition fetch at the boot?")]),
    (
        "disk inspect",
        &[(
            "prebake disk inspect flatcar_production_image.bin.bz2",
            "Partitions, platform, and what was put into it",
        )],
    ),
    (
        "disk inject",
        &[
            (
                "prebake disk inject flatcar_production_image.bin.bz2 --ignition node.bu -o node.qcow2",
                "Flatcar's image with a config in it, in one pass",
            ),
            (
                "prebake disk inject stock.bin.bz2 --platform proxmoxve --extension oem-proxmoxve.raw -o node.qcow2",
                "The image for a platform out of the generic one",
            ),
        ],
    ),
    ("disk extract", &[("prebake disk extract node.qcow2 -o oem", "The files on OEM")]),
    (
        "disk remove",
        &[("prebake disk remove node.qcow2 -o stock.qcow2", "Back to the files before the injection")],
    ),
    (
        "disk convert",
        &[("prebake disk convert node.qcow2 --size 20GiB -o node.vmdk", "Another form, and room for ROOT")],
    ),
    ("disk write", &[("prebake disk write node.qcow2 /dev/sdb", "Onto a stick, and read back")]),
    (
        "proxmox upload",
        &[
            (
                "prebake proxmox upload output/nodes/current --vm-id 211 --convert-to-template",
                "The tree's image as template 211; the token is in the environment",
            ),
            (
                "prebake proxmox upload node.qcow2 --credentials env.enc.yaml --convert-to-template --prune 3",
                "The next free id, the newest three kept, and the token in a file of SOPS",
            ),
            ("prebake proxmox upload node.qcow2 --dry-run", "The calls alone"),
        ],
    ),
    (
        "proxmox script",
        &[
            (
                "prebake proxmox script node.qcow2 --vm-id 211 --storage local-lvm --convert-to-template",
                "The same as commands of `qm`, to run on a node",
            ),
            ("prebake proxmox script node.qcow2 --for openstack", "For OpenStack's glance"),
        ],
    ),
    (
        "proxmox macs",
        &[
            ("prebake proxmox macs --cluster-name edge", "Ids, names and cards of a cluster's machines"),
            (
                "prebake proxmox macs --cluster-name edge --addresses ipaddresses.json --for dnsmasq",
                "Reservations, with what `kubectl get ipaddresses -A -o json` wrote",
            ),
        ],
    ),
    (
        "initrd inject",
        &[
            (
                "prebake initrd inject flatcar_production_pxe_image.cpio.gz --ignition node.bu -o node.cpio.gz",
                "Flatcar's initrd with a config in it",
            ),
            (
                "prebake initrd inject output/kubernetes/current --profile worker --sysext debug.raw",
                "One more sysext for a profile of a published tree",
            ),
        ],
    ),
    ("initrd show", &[("prebake initrd show node.cpio.gz --contents", "Its archives and their members")]),
    ("initrd extract", &[("prebake initrd extract node.cpio.gz -o root", "Unpack it as the kernel does")]),
    (
        "initrd remove",
        &[(
            "prebake initrd remove node.cpio.gz -o flatcar.cpio.gz",
            "Back to the initrd before the injection",
        )],
    ),
    (
        "bundle create",
        &[(
            "prebake bundle create output/edge/current -o edge.bundle --sign-key site.key --expires 90d",
            "Pack and sign a tree for a site",
        )],
    ),
    (
        "bundle diff",
        &[("prebake bundle diff old.bundle new.bundle --trust site.pub", "What does the new bundle change?")],
    ),
    (
        "bundle sign",
        &[("prebake bundle sign edge.bundle --sign-key second.key", "Add the signature of a second person")],
    ),
    (
        "bundle verify",
        &[("prebake bundle verify edge.bundle --trust site.pub", "Is it whole, and signed by our key?")],
    ),
    ("bundle inspect", &[("prebake bundle inspect edge.bundle", "What does it claim to be?")]),
    (
        "bundle import",
        &[("prebake bundle import edge.bundle --trust site.pub", "Verify, and publish below output")],
    ),
    (
        "cluster generate",
        &[
            ("prebake cluster generate", "All that the machines of cluster.yaml boot, and output/kubeconfig"),
            (
                "prebake cluster generate site/cluster.yaml --locked --offline",
                "The same from the lock and the store alone",
            ),
            (
                "prebake cluster generate --templates mine --recipe",
                "The recipe that it becomes, with templates of your own",
            ),
        ],
    ),
    (
        "cluster power",
        &[
            ("prebake cluster power status", "Which machines have power?"),
            ("prebake cluster power on w1 w2", "Give it to two of them"),
            ("prebake cluster power cycle w1 --force", "Boot one anew, even if it is Ready"),
        ],
    ),
    (
        "cluster rehearse",
        &[
            ("prebake cluster rehearse cluster.yaml", "Form the cluster here, and take it down again"),
            ("prebake cluster rehearse cluster.yaml --keep-running", "Leave it, to look at"),
            (
                "prebake cluster rehearse cluster.yaml --boot-only output/edge/current",
                "Only boot the machines",
            ),
            ("prebake cluster rehearse cluster.yaml --libvirt=xml", "Files for virsh instead"),
        ],
    ),
    (
        "key generate",
        &[("prebake key generate --output site", "site.key, sealed with a passphrase, and site.pub")],
    ),
    (
        "key rotate",
        &[(
            "prebake key rotate --old site.key --new next.pub",
            "Let next.pub follow, signed by the key before it",
        )],
    ),
    ("key show", &[("prebake key show site.pub", "Which key is this?")]),
    (
        "key sign",
        &[(
            "prebake key sign edge.bundle --sign-key site.key",
            "edge.bundle.minisig, which minisign verifies, too",
        )],
    ),
    (
        "key tls",
        &[
            (
                "prebake key tls tls --server matchbox.example.com --client client",
                "Files for /etc/matchbox and ~/.matchbox",
            ),
            ("prebake key tls tls --renew", "All of them again, before they expire"),
        ],
    ),
    ("key update", &[("prebake key update", "Fetch Flatcar's key file anew, and hold it against the pin")]),
    (
        "key verify",
        &[("prebake key verify edge.bundle --trust site.pub", "Exit code 5 if our key did not sign it")],
    ),
    (
        "fetch",
        &[("prebake fetch recipes/kubernetes.yaml", "Fill the store, so that `build --offline` works")],
    ),
    ("store ls", &[("prebake store ls --unused", "What would `store gc` remove?")]),
    ("store verify", &[("prebake store verify", "Read every object again")]),
    ("store gc", &[("prebake store gc --dry-run", "How much room would it make?")]),
    ("store path", &[("prebake store path flatcar/amd64/version.txt", "The file of an input")]),
    ("help", &[("prebake help sysext build", "The same as `prebake sysext build --help`")]),
    ("version", &[("prebake version --json", "Version and commit for a program")]),
    ("completions", &[("prebake completions bash", "A script for bash; see install.md for its place")]),
    (
        "man",
        &[
            ("prebake man --output man1", "A page for each verb"),
            ("prebake man sysext build", "One page, for `man -l -`"),
        ],
    ),
];

/// The way from a recipe to machines that boot: the examples of prebake itself.
const WAY: [&str; 4] = ["lock", "build", "serve", "status"];
/// Most examples of verbs that are shown for the verb that they belong to.
const MOST: usize = 3;

/// The examples of a verb, whose words are separated by blanks; for one that only has verbs, the first of each of those.
pub(super) fn of(verb: &str) -> Vec<Example> {
    if verb.is_empty() {
        return WAY.iter().filter_map(|verb| of(verb).first().copied()).collect();
    }
    let own = EXAMPLES.iter().find(|(name, _)| *name == verb).map(|(_, examples)| examples.to_vec());
    own.unwrap_or_else(|| {
        let inner = EXAMPLES
            .iter()
            .filter(|(name, _)| name.strip_prefix(verb).is_some_and(|rest| rest.starts_with(' ')));
        inner.filter_map(|(_, examples)| examples.first().copied()).take(MOST).collect()
    })
}

/// Appends the examples to the long help of a verb and of all verbs below it.
pub(super) fn shown(command: Command, verb: &str) -> Command {
    let header = *command.get_styles().get_header();
    let command = command.mut_subcommands(|inner| {
        let name = format!("{verb} {}", inner.get_name());
        shown(inner, name.trim_start())
    });
    let examples = of(verb);
    if examples.is_empty() {
        return command;
    }
    let rows =
        examples.iter().map(|(line, purpose)| format!("\n  # {purpose}\n  {line}")).collect::<Vec<_>>();
    command.after_long_help(format!("{header}Examples:{header:#}{}", rows.join("\n")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;
    use crate::cli::Cli;

    fn leaves(command: &Command, name: &str, found: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            leaves(verb, format!("{name} {}", verb.get_name()).trim_start(), found);
        }
        if !command.has_subcommands() {
            found.push(name.to_owned());
        }
    }

    /// Only four verbs of 52 had an example (ux.md, §2).
    #[test]
    fn every_verb_has_an_example_of_itself_that_this_prebake_takes() {
        let mut verbs = Vec::new();
        leaves(&Cli::command(), "", &mut verbs);
        let lacking: Vec<_> = verbs.iter().filter(|verb| of(verb).is_empty()).collect();
        assert!(lacking.is_empty(), "src/cli/examples.rs has none for {lacking:?}");
        for (verb, examples) in EXAMPLES {
            assert!(verbs.iter().any(|known| known == verb), "there is no verb `{verb}`");
            for (line, _) in *examples {
                // One that reads from a pipe is about its end; a pipe behind it would be no example of it.
                let line = line.rsplit(" | ").next().unwrap().trim_start_matches("sudo ");
                assert!(line.starts_with(&format!("prebake {verb}")), "`{line}` is no example of `{verb}`");
                // A redirection is the shell's.
                let words = line.split(' ').take_while(|word| !matches!(*word, ">" | "<"));
                let parsed = Cli::command().try_get_matches_from(words);
                let is_taken =
                    parsed.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::DisplayHelp);
                assert!(is_taken, "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    /// Help is wrapped at clap's 100 columns, and a wrapped command is none to copy.
    #[test]
    fn no_example_is_wrapped() {
        for (line, purpose) in EXAMPLES.iter().flat_map(|(_, examples)| *examples) {
            assert!(line.len() <= 98 && purpose.len() <= 96, "{line}\n{purpose}");
        }
    }

    #[test]
    fn a_verb_of_verbs_shows_examples_of_those() {
        assert_eq!(of("bundle").len(), MOST);
        let mut help = shown(Cli::command(), "");
        let help = help.find_subcommand_mut("bundle").unwrap().render_long_help().to_string();
        assert!(help.contains("Examples:\n  # Pack and sign"), "{help}");
    }
}
