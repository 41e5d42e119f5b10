//! The stages of a boot, in the order in which machines reach them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It got an answer by DHCP.
    Dhcp,
    /// It fetched a boot loader by TFTP.
    Tftp,
    /// It fetched a boot script.
    Script,
    /// It was told to boot what is installed on its disk.
    Disk,
    /// It fetches its kernel.
    Kernel,
    /// It fetches its initrds.
    Initrd,
    /// It fetches its Ignition config.
    Ignition,
    /// It reports that it is installing.
    Installing,
    /// It reports that it is installed.
    Installed,
    /// It reports that its system is running.
    Booted,
    /// It reports that it unpacks container images, or waits for what `kubeadm` needs.
    Images,
    /// It reports a phase of `kubeadm`.
    Kubeadm,
    /// It reports that it has joined a cluster.
    Joined,
}

/// The properties of a stage.
pub(crate) struct Row {
    /// The stage that the row describes.
    pub stage: Stage,
    /// The word for it in scripts, reports and documents.
    pub word: &'static str,
    /// How long a machine may stay in this stage before something is likely wrong; `None` if it may stay for ever.
    pub patience: Option<Duration>,
}

const fn row(stage: Stage, word: &'static str, seconds: u64) -> Row {
    let patience = if seconds == 0 { None } else { Some(Duration::from_secs(seconds)) };
    Row { stage, word, patience }
}

/// All stages, in order. A loader continues within seconds. Between the last initrd and the first report, a slow
/// machine unpacks a gigabyte, runs Ignition and starts its system; an installation to disk takes its time.
pub(crate) const STAGES: [Row; 13] = [
    row(Stage::Dhcp, "dhcp", 60),
    row(Stage::Tftp, "tftp", 60),
    row(Stage::Script, "script", 30),
    row(Stage::Disk, "disk", 0),
    row(Stage::Kernel, "kernel", 30),
    row(Stage::Initrd, "initrd", 600),
    row(Stage::Ignition, "ignition", 600),
    row(Stage::Installing, "installing", 3600),
    row(Stage::Installed, "installed", 0),
    row(Stage::Booted, "booted", 0),
    row(Stage::Images, "images", 0),
    row(Stage::Kubeadm, "kubeadm", 0),
    row(Stage::Joined, "joined", 0),
];

impl Stage {
    fn row(self) -> &'static Row {
        &STAGES[self as usize]
    }

    /// The word for it in scripts, reports and documents.
    pub(crate) fn word(self) -> &'static str {
        self.row().word
    }

    /// How long a machine may stay in this stage before something is likely wrong; `None` if it may stay for ever.
    pub(crate) fn patience(self) -> Option<Duration> {
        self.row().patience
    }

    /// Whether only the machine's own report shows this stage.
    pub(crate) fn is_reported(self) -> bool {
        self >= Stage::Installing
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(word: &str) -> Result<Stage, String> {
        let row = STAGES.iter().find(|row| row.word == word);
        row.map(|row| row.stage).ok_or_else(|| {
            let words: Vec<&str> = STAGES.iter().map(|row| row.word).collect();
            format!("there is no stage `{word}`; the stages are {}", words.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_own_row_under_the_word_that_documents_have() {
        for (at, row) in STAGES.iter().enumerate() {
            assert_eq!(row.stage as usize, at);
            assert_eq!(row.word.parse(), Ok(row.stage));
            assert_eq!(serde_json::to_value(row.stage).unwrap(), row.word);
        }
        assert!("boot".parse::<Stage>().unwrap_err().contains("booted"));
    }
}
