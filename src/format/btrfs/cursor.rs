//! Walks over the items of a tree, in the order of their keys, from any key on.

use super::Fault;
use super::key::Key;
use super::node::{Expected, Node};
use super::source::Source;
use super::volume::Volume;

/// Where a tree begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    /// The tree's number.
    pub tree: u64,
    /// Address of its root.
    pub address: u64,
    /// Height of its root above the leaves, at most 7.
    pub level: u8,
    /// Number of the transaction that wrote it.
    pub generation: u64,
}

/// A block on the way from the root to the current item.
struct Step {
    node: Node,
    /// The current item, or the current child.
    slot: usize,
    /// A key that is greater than all keys of the block.
    end: Option<Key>,
}

impl Step {
    /// The properties that the current child must have; `None` in a leaf, and behind the last child.
    fn child(&self, tree: u64) -> Option<Expected> {
        let Step { node, slot, end } = self;
        let key = |slot: usize| (slot < node.count()).then(|| node.key(slot));
        let level = node.level.checked_sub(1)?;
        let first = Some(key(*slot)?);
        let (address, generation) = node.child(*slot);
        Some(Expected { tree, address, level, generation, first, end: key(slot + 1).or(*end) })
    }
}

/// A place between two items of a tree. Blocks are read, and checked, when they are reached; memory is one block for
/// each level.
pub(super) struct Cursor<'v, S> {
    volume: &'v Volume<S>,
    tree: u64,
    steps: Vec<Step>,
}

impl<'v, S: Source> Cursor<'v, S> {
    /// Stands before the last item whose key is at most a given one, or else before the first item.
    pub(super) fn before(volume: &'v Volume<S>, root: &Root, key: Key) -> Result<Self, Fault> {
        let Root { tree, address, level, generation } = *root;
        let expected = Expected { tree, address, level, generation, first: None, end: None };
        let mut cursor = Cursor { volume, tree, steps: Vec::with_capacity(8) };
        cursor.descend(expected, |node| node.last_at_most(key))?;
        Ok(cursor)
    }

    /// Stands before the first item whose key is at least a given one.
    pub(super) fn from(volume: &'v Volume<S>, root: &Root, key: Key) -> Result<Self, Fault> {
        let mut cursor = Self::before(volume, root, key)?;
        if let Some(leaf) = cursor.steps.last_mut()
            && leaf.slot < leaf.node.count()
            && leaf.node.key(leaf.slot) < key
        {
            leaf.slot += 1;
        }
        Ok(cursor)
    }

    /// Goes from a block down to a leaf; `choose` says which child of each block, and which item of the leaf.
    fn descend(&mut self, mut expected: Expected, choose: impl Fn(&Node) -> usize) -> Result<(), Fault> {
        loop {
            let node = self.volume.node(&expected)?;
            let step = Step { slot: choose(&node), end: expected.end, node };
            let child = step.child(self.tree);
            self.steps.push(step);
            match child {
                Some(child) => expected = child,
                None => return Ok(()),
            }
        }
    }

    /// The next item: its key and payload. `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<(Key, &[u8])>, Fault> {
        while let Some(last) = self.steps.last()
            && last.slot >= last.node.count()
        {
            self.steps.pop();
            let Some(above) = self.steps.last_mut() else { break };
            above.slot += 1;
            if let Some(child) = above.child(self.tree) {
                self.descend(child, |_| 0)?;
            }
        }
        let Some(Step { node, slot, .. }) = self.steps.last_mut() else { return Ok(None) };
        let index = *slot;
        *slot += 1;
        Ok(Some((node.key(index), node.payload(index))))
    }
}
