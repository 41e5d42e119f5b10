use super::*;

/// The entries of a list with the doubts about it, or the errors in it.
fn read(name: &str, text: &str, wishes: &Wishes) -> Result<(Vec<String>, Vec<String>), Vec<String>> {
    let mut rows = Rows::default();
    for text in text.split("\n===\n") {
        rows.take(name, text.as_bytes().to_vec(), None);
    }
    rows.join(wishes);
    let said = |finding: &Finding| {
        let place = finding.place.as_ref().map(|place| format!("{}:{}", place.line, place.column));
        format!("{} {}", place.unwrap_or_default(), finding.message)
    };
    let (entries, doubts) =
        judge(rows, wishes).map_err(|Findings(findings)| findings.iter().map(said).collect::<Vec<_>>())?;
    Ok((entries.iter().map(Entry::to_string).collect(), doubts.iter().map(said).collect()))
}

fn worker() -> Wishes {
    Wishes { profile: Some("worker".into()), ..Wishes::default() }
}

/// Issue 17, point 1: spreadsheets as they come, from Excel in German, too.
#[test]
fn a_table_has_its_columns_in_any_order_with_any_separator_quotes_and_line_ends() {
    let expected = [
        r#"- {name: n1, mac: "52:54:00:00:00:01", ip: "10.0.0.1/24", memory: "64 GiB", profile: db}"#,
        r#"- {name: n2, mac: "52:54:00:00:00:02", arch: arm64, profile: worker}"#,
    ];
    for text in [
        "name,mac,ip,profile,arch,memory\nn1,52:54:00:00:00:01,10.0.0.1/24,db,,64 GiB\nn2,5254.0000.0002,,,aarch64\n",
        "\u{feff}sep=;\r\nMAC-Adresse;IP-Adresse;\"Host Name\";Profil;Arch;Speicher\r\n52-54-00-00-00-01;\"10.0.0.1/24\";n1;db;;\"64 GiB\"\r\n\r\n525400000002;;n2;;arm64;\r\n",
        "memory\tarch\tip\tprofile\tmac\tname\n64 GiB\t\t10.0.0.1/24\tdb\t52:54:00:00:00:01\tn1\n# a comment\t\n\tarm64\t\t\t52:54:00:00:00:02\tn2",
    ] {
        let (entries, doubts) = read("x.csv", text, &worker()).unwrap();
        assert_eq!(entries, expected, "{text}");
        assert!(doubts.is_empty(), "{doubts:?}");
    }
}

#[test]
fn every_mistake_of_a_table_is_told_at_once_where_it_stands() {
    let text = "name,mac,ip,rack,memory\n\
        a,52:54:00:00:00:01,10.0.0.0/24,r1,\n\
        b,52:54:00:00:00:0x,10.0.0.2/24,r1,lots\n\
        c,01:00:5e:00:00:01,10.0.0.3,r1,\n\
        d,,10.0.0.4/24,r1,\n\
        e,\"52:54:00:00:00:01\",10.0.0.5/16,r1,\n\
        f,52:54:00:00:00:06,10.0.0.6/24,r1,1GiB,more\n\
        a,52:54:00:00:00:07,10.0.0.7/24,r1,\n";
    assert_eq!(
        read("x.csv", text, &worker()).unwrap_err(),
        [
            "7:1 this line has 6 values, and there are 5 columns",
            "2:21 10.0.0.0/24 cannot be the address of a machine: it is the address of the network 10.0.0.0/24 itself",
            "3:3 `52:54:00:00:00:0x` is not a MAC address such as 52:54:00:00:00:01",
            "3:36 `lots` is not an amount such as 8GiB or 4096MiB",
            "4:3 01:00:5e:00:00:01 cannot be the address of a card: an odd first pair makes it a multicast address",
            "4:21 10.0.0.3 has no prefix length",
            "5:1 machine `d` has neither a MAC address nor a UUID to be identified by",
            "6:4 nodes `a` and `e` have the same MAC address 52:54:00:00:00:01",
            "8:1 node `a` is listed twice",
            "8:21 10.0.0.7/24 and 10.0.0.5/16 are in one network, but have different prefix lengths",
            "1:1 columns that are not used: rack",
        ]
    );
    for (text, words) in [
        ("52:54:00:00:00:01,n1\n", "1:1 no column is called `mac` or `uuid`"),
        ("", " x.csv is empty"),
        ("mac\n", " no machine was found"),
        ("mac,mac\n52:54:00:00:00:01,\n", "1:1 the column `mac` is there twice"),
    ] {
        assert_eq!(read("x.csv", text, &worker()).unwrap_err()[0], words);
    }
}

#[test]
fn a_name_that_no_host_name_can_be_is_changed_and_told() {
    let text = "name,mac\nRack 1_N2,52:54:00:00:00:01\n,52:54:00:00:00:02\n";
    let (entries, doubts) = read("x.csv", text, &worker()).unwrap();
    assert_eq!(
        entries,
        [
            "- {name: rack-1-n2, mac: \"52:54:00:00:00:01\", profile: worker}",
            "- {name: node-525400000002, mac: \"52:54:00:00:00:02\", profile: worker}",
        ]
    );
    assert_eq!(doubts, ["2:1 `Rack 1_N2` is not a host name; the node is called `rack-1-n2`"]);
}

#[test]
fn dnsmasq_s_leases_and_reservations_are_told_apart_line_by_line() {
    let leases = "1700000000 52:54:00:00:00:01 10.0.0.7 n1 01:52:54:00:00:00:01\n\
        1700000000 52:54:00:00:00:02 10.0.0.8 * *\n\
        1700000000 06-52:54:00:00:00:02:03 10.0.0.9 * *\n\
        duid 00:01\n1700000000 12345 fd00::7 n1 00:01\n";
    let subnet = Wishes { subnet: "10.0.0.0/24".parse().ok(), ..worker() };
    let (entries, doubts) = read("dnsmasq.leases", leases, &subnet).unwrap();
    assert_eq!(
        entries,
        [
            r#"- {name: n1, mac: "52:54:00:00:00:01", ip: "10.0.0.7/24", profile: worker}"#,
            r#"- {name: node-525400000002, mac: "52:54:00:00:00:02", ip: "10.0.0.8/24", profile: worker}"#,
        ]
    );
    assert_eq!(doubts.len(), 1);
    let conf = "interface=eth0\n# dhcp-host=52:54:00:00:00:09,no\n\
        dhcp-host=52:54:00:00:00:01,set:red,n1,10.0.0.7,infinite # first\n\
        dhcp-host=n2,10.0.0.8,12h\n\
        dhcp-host=52:54:00:00:00:03,ignore\n\
        dhcp-host=52:54:00:*:*:*,n4\n\
        dhcp-host=52:54:00:00:00:05,[fd00::5],10.0.0.5,n5\n";
    let (entries, doubts) = read("dnsmasq.conf", conf, &subnet).unwrap();
    assert_eq!(
        entries,
        [
            r#"- {name: n1, mac: "52:54:00:00:00:01", ip: "10.0.0.7/24", profile: worker}"#,
            r#"- {name: n5, mac: "52:54:00:00:00:05", ip: "10.0.0.5/24", profile: worker}"#,
        ]
    );
    let lines: Vec<&str> = doubts.iter().map(|doubt| doubt.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["4", "5", "6"], "{doubts:?}");
    // Without its network an address says too little.
    let (entries, doubts) = read("dnsmasq.leases", leases, &worker()).unwrap();
    assert_eq!(entries[0], r#"- {name: n1, mac: "52:54:00:00:00:01", profile: worker}"#);
    assert!(
        doubts.iter().any(|doubt| doubt == "1:30 10.0.0.7 has no prefix length, and is left out"),
        "{doubts:?}"
    );
    let elsewhere = Wishes { subnet: "10.9.0.0/24".parse().ok(), ..worker() };
    assert!(read("x", leases, &elsewhere).unwrap_err()[0].contains("10.0.0.7 is not in 10.9.0.0/24"));
}

#[test]
fn groups_of_matchbox_for_one_machine_are_nodes() {
    let group = r#"{"id": "x", "profile": "db", "selector": {"mac": "52:54:00:00:00:01"},
        "metadata": {"hostname": "db1", "ip": "10.0.0.1/24"}}
===
{"profile": "worker", "selector": {"uuid": "01234567-89AB-CDEF-0123-456789ABCDEF"}}
===
{"profile": "worker", "selector": {"mac": "52:54:00:00:00:01", "os": "installed"}}
===
{"profile": "worker"}"#;
    let (entries, doubts) = read("groups/w7.json", group, &Wishes::default()).unwrap();
    assert_eq!(
        entries,
        [
            r#"- {name: db1, mac: "52:54:00:00:00:01", ip: "10.0.0.1/24", profile: db}"#,
            r#"- {name: w7, uuid: "01234567-89ab-cdef-0123-456789abcdef", profile: worker}"#,
        ]
    );
    assert_eq!(doubts, ["1:1 the group `w7` is for several machines, and is left out"]);
}

/// Review of issue 17, 16: 50,000 rows took minutes, since each was searched for from the beginning of its text and of the file.
/// In debug builds, where each step is slow, squares of this size take minutes; so a wrong growth shows without a clock.
#[test]
fn lists_of_many_machines_are_read_in_time_that_grows_as_they_do() {
    let mac = |n: usize| format!("52:54:00:00:{:02x}:{:02x}", n >> 8, n & 255);
    let table: String = (0..MANY).map(|n| format!("n{n},{}\n", mac(n))).collect();
    let interface =
        |n| format!(r#"{{"name": "é", "device": {{"name": "n{n}"}}, "mac_address": "{}"}}"#, mac(n));
    let interfaces: Vec<String> = (0..MANY).map(interface).collect();
    for (name, text) in
        [("x.csv", format!("name,mac\n{table}")), ("x.json", format!("[{}]", interfaces.join(", ")))]
    {
        let mut rows = Rows::default();
        rows.take(name, text.into_bytes(), None);
        rows.join(&worker());
        let (entries, _) = judge(rows, &worker()).unwrap();
        assert_eq!(entries.len(), MANY);
        let whole: String = entries.iter().map(|entry| format!("  {entry}\n")).collect();
        let source = Source::new("nodes.yaml", format!("schema: 1\nnodes:\n{whole}"));
        let target = Target::parse(Path::new("nodes.yaml"), &source).unwrap();
        assert_eq!(target.insert(entries).unwrap().present.len(), MANY);
    }
}

/// Machines of a long list.
const MANY: usize = 20_000;

#[test]
fn places_in_a_long_line_are_those_that_counting_finds() {
    let source = Source::new("x", format!("a\n{}\r\n\u{e9}b", "x\u{e9}\u{1f600}".repeat(300)));
    let places = Places::new(&source);
    for offset in (0..=source.text.len()).filter(|offset| source.text.is_char_boundary(*offset)) {
        let before = &source.text[..offset];
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        let place = places.at(offset);
        assert_eq!((place.line, place.column), (before.matches('\n').count() + 1, column));
    }
    assert_eq!(places.at(source.text.len() + 9), places.at(source.text.len()));
}

const DEVICES: &str = r#"{"count": 2, "next": null, "results": [
  {"id": 1, "name": "n1", "primary_ip4": {"address": "10.0.0.1/24"}, "custom_fields": {"profile": "db", "x": 1}},
  {"id": 2, "name": "n2", "primary_ip4": null, "memory": 4096}
]}"#;

#[test]
fn devices_of_netbox_get_the_mac_addresses_of_the_interfaces_that_they_boot_from() {
    let interfaces = r#"{"count": 4, "next": null, "results": [
      {"name": "bmc", "device": {"name": "n1"}, "mac_address": "52:54:00:00:00:F1", "mgmt_only": true},
      {"name": "eno1", "device": {"name": "n1"}, "mac_address": "52:54:00:00:00:01", "type": {"value": "1000base-t"}},
      {"name": "bond0", "device": {"name": "n1"}, "mac_address": "52:54:00:00:00:01", "type": {"value": "lag"}},
      {"name": "eth0", "virtual_machine": {"name": "n2"}, "primary_mac_address": {"mac_address": "52:54:00:00:00:02"}, "mac_address": null}
    ]}"#;
    let (entries, doubts) = read("x.json", &format!("{DEVICES}\n===\n{interfaces}"), &worker()).unwrap();
    assert_eq!(
        entries,
        [
            r#"- {name: n1, mac: "52:54:00:00:00:01", ip: "10.0.0.1/24", profile: db}"#,
            r#"- {name: n2, mac: "52:54:00:00:00:02", memory: "4096MiB", profile: worker}"#,
        ]
    );
    assert!(doubts.is_empty());
    // Interfaces say the name of their device, so that they are enough.
    assert_eq!(read("x.json", interfaces, &worker()).unwrap().0.len(), 2);
}

#[test]
fn what_netbox_leaves_open_is_told() {
    let two = r#"[{"name": "eno1", "device": {"name": "n1"}, "mac_address": "52:54:00:00:00:01"},
        {"name": "eno2", "device": {"name": "n1"}, "mac_address": "52:54:00:00:00:02"}]"#;
    assert_eq!(
        read("x.json", two, &worker()).unwrap_err(),
        ["1:2 device `n1` may boot from any of eno1, eno2"]
    );
    let eno2 = Wishes { interface: Some("eno2".into()), ..worker() };
    assert!(read("x.json", two, &eno2).unwrap().0[0].contains("00:02"));
    let cabled = two.replace("00:02\"", "00:02\", \"cable\": {\"id\": 1}");
    assert!(read("x.json", &cabled, &worker()).unwrap().0[0].contains("00:02"));
    let page = DEVICES.replace("\"count\": 2", "\"count\": 120");
    let said = read("x.json", &page, &worker()).unwrap_err();
    assert_eq!(said[0], "1:11 these are 2 of 120 devices");
    assert_eq!(said[1], "2:3 device `n1` has no interface with a MAC address in these files");
    // Review of issue 17, 17: a page that names a next one was the whole list.
    let page = |count: &str, previous: &str, next: &str, number: u8| {
        format!(
            r#"{{{count}"next": {next}, "previous": {previous}, "results": [{{"name": "eno1", "device": {{"name": "n{number}"}}, "mac_address": "52:54:00:00:00:0{number}"}}]}}"#
        )
    };
    let further = r#""http://x/api/dcim/interfaces/?offset=1""#;
    for count in ["", "\"count\": 1, ", "\"count\": null, "] {
        let first = page(count, "null", further, 1);
        let said = read("x.json", &first, &worker()).unwrap_err();
        assert!(said[0].ends_with("a further page of http://x/api/dcim/interfaces is missing"), "{said:?}");
        let whole = format!("{first}\n===\n{}", page(count, "\"http://x/api/dcim/interfaces/\"", "null", 2));
        assert_eq!(read("x.json", &whole, &worker()).unwrap().0.len(), 2);
    }
    assert!(read("x.json", "{\"results\": 1}", &worker()).unwrap_err()[0].contains("neither a list"));
    assert!(read("x.json", "{\"results\": [", &worker()).unwrap_err()[0].starts_with("1:14 "));
}

const RECIPE: &str = "schema: 1
name: edge
release: {channel: stable}
profiles:
  worker: {}
";

fn entry(n: u8) -> Entry {
    let mac = Some(Mac::from([0x52, 0x54, 0, 0, 0, n]));
    Entry {
        profile: Some("worker".into()),
        ..Entry::of_stranger(Some(&format!("n{n}")), mac, None, |_| false)
    }
}

fn insert(text: &str, entries: Vec<Entry>) -> Result<Written, Vec<String>> {
    let said = |Findings(findings): Findings| {
        findings.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>()
    };
    let target = Target::parse(Path::new("edge.yaml"), &Source::new("edge.yaml", text)).map_err(said)?;
    target.insert(entries).map_err(said)
}

/// Issue 17, point 1: lines are put in, and nothing else of the text moves.
#[test]
fn entries_go_into_a_recipe_s_text_and_its_comments_stay() {
    let n2 = "- {name: n2, mac: \"52:54:00:00:00:02\", profile: worker}";
    let first = "{name: n1, mac: '52:54:00:00:00:01', profile: worker}";
    for (before, after) in [
        (
            "nodes:\n  # rack 1\n  - FIRST # why\n\n# rack 2\ndefault_profile: worker\n",
            "nodes:\n  # rack 1\n  - FIRST # why\n  NEW\n\n# rack 2\ndefault_profile: worker\n",
        ),
        ("nodes:\n- FIRST\ndefault_profile: worker\n", "nodes:\n- FIRST\nNEW\ndefault_profile: worker\n"),
        (
            "nodes:\n  - name: n1\n    mac: '52:54:00:00:00:01'\n    profile: worker\n    # its disk is broken\ndefault_profile: worker",
            "nodes:\n  - name: n1\n    mac: '52:54:00:00:00:01'\n    profile: worker\n    # its disk is broken\n  NEW\ndefault_profile: worker",
        ),
        ("nodes:\n  - FIRST", "nodes:\n  - FIRST\n  NEW\n"),
        (
            "nodes: # none yet\ndefault_profile: worker\n",
            "nodes: # none yet\n  NEW\ndefault_profile: worker\n",
        ),
        (
            "nodes: [] # none yet\ndefault_profile: worker\n",
            "nodes: # none yet\n  NEW\ndefault_profile: worker\n",
        ),
        ("# the end\n", "# the end\nnodes:\n  NEW\n"),
        ("nodes: [FIRST] # all\n", "nodes: [FIRST, FLOW] # all\n"),
        ("nodes: [\n  FIRST,\n]\n", "nodes: [\n  FIRST, FLOW\n]\n"),
    ] {
        for end in ["\n", "\r\n"] {
            let whole = |text: &str| {
                let text = text.replace("FIRST", first).replace("NEW", n2).replace("FLOW", &n2[2..]);
                format!("\u{feff}{RECIPE}{text}").replace('\n', end)
            };
            let written =
                insert(&whole(before), vec![entry(2)]).unwrap_or_else(|said| panic!("{before}: {said:?}"));
            assert_eq!(written.text, whole(after), "{before}");
        }
    }
    for odd in ["x-all: &all [FIRST]\nnodes: *all\n", "nodes: !!seq\n  - FIRST\n", "nodes: ~\n"] {
        let text = format!("{RECIPE}{}", odd.replace("FIRST", first));
        match insert(&text, vec![entry(2)]) {
            Ok(written) => assert!(written.text.contains(n2), "{odd}"),
            Err(said) => assert!(said[0].contains("lines cannot be put below"), "{odd}: {said:?}"),
        }
    }
}

#[test]
fn what_is_there_is_left_out_and_what_contradicts_it_is_refused_with_all_the_rest() {
    let text = format!(
        "{RECIPE}nodes:\n  - {{name: N1, mac: 5254.0000.0001, profile: worker, ip: 10.0.0.1/24}}\n  - {{name: n2, mac: '52:54:00:00:00:02', profile: worker}}\n"
    );
    let written = insert(&text, vec![entry(1), entry(2), entry(3)]).unwrap();
    let names = |entries: Vec<&Entry>| entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(written.added.iter().collect()), ["n3"]);
    assert_eq!(names(written.present.iter().map(|(entry, _)| entry).collect()), ["n1", "n2"]);
    let ip = |entry: Entry, ip: &str| Entry { ip: ip.parse().ok(), ..entry };
    let renamed = Entry { name: "other".into(), ..entry(2) };
    let moved = Entry { name: "n2".into(), ..entry(9) };
    assert_eq!(
        insert(&text, vec![ip(entry(1), "10.0.0.9/24"), renamed, moved, ip(entry(5), "10.0.0.1/24")])
            .unwrap_err(),
        [
            "node `n1` of the file has another address",
            "`other` is node `n2` of the file: they are one machine",
            "node `n2` of the file has another MAC address or UUID",
            "node `N1` of the file has the address of `n5`",
        ]
    );
    let unknown = Entry { profile: Some("wroker".into()), ..entry(4) };
    assert_eq!(insert(&text, vec![unknown]).unwrap_err(), ["there is no profile `wroker`"]);
    assert_eq!(
        insert(&text, vec![Entry { profile: None, ..entry(4) }]).unwrap_err(),
        ["there is no profile `PROFILE`"]
    );
    let inventory = insert("schema: 1\nnodes:\n", vec![entry(4)]).unwrap();
    assert_eq!(inventory.text, format!("schema: 1\nnodes:\n  {}\n", entry(4)));
}
