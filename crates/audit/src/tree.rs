//! The Merkle tree over the records, as far as it must be in memory to grow: its right edge. The mathematics are those of
//! `tlog_tiles`; this file only keeps the hashes that they ask for again.

use tlog_tiles::{
    Hash, HashReader, record_hash, split_stored_hash_index, stored_hashes_for_record_hash,
    sub_tree_index, tree_hash,
};

use crate::layout::{HEIGHT, LEVELS, TILE_BYTES, WIDTH};

/// The tree could not be continued: hashes are missing, which is a mistake of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree of the log cannot be continued")]
pub(crate) struct TreeError;

/// A hash tile that has just become full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FullTile {
    pub(crate) level: u8,
    pub(crate) number: u64,
    pub(crate) hashes: Vec<u8>,
}

/// The right edge of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    size: u64,
    frontier: Frontier,
    /// Hashes of the partial tile of each level.
    edges: [Vec<u8>; LEVELS as usize],
}

/// The roots of the complete subtrees, one for each bit set in the size: all that later records hash against.
#[derive(Debug, Clone)]
struct Frontier([Option<(u64, Hash)>; 64]);

impl HashReader for Frontier {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let hash_at = |&index: &u64| {
            let (level, number) = split_stored_hash_index(index);
            match self.0.get(usize::from(level)) {
                Some(Some((kept, hash))) if *kept == number => Ok(*hash),
                Some(_) | None => Err(tlog_tiles::Error::IndexesNotInTree),
            }
        };
        indexes.iter().map(hash_at).collect()
    }
}

impl Tree {
    /// The tree without records.
    pub(crate) fn new() -> Self {
        Self {
            size: 0,
            frontier: Frontier([None; 64]),
            edges: Default::default(),
        }
    }

    /// The tree of `size` records whose right edge is in `edges` and whose hashes `reader` gives.
    ///
    /// # Errors
    ///
    /// [`TreeError`] when `reader` does not give them, or an edge has not the length it must have.
    pub(crate) fn restore(
        size: u64,
        reader: &impl HashReader,
        edges: [Vec<u8>; LEVELS as usize],
    ) -> Result<Self, TreeError> {
        let mut tree = Self {
            size,
            frontier: Frontier([None; 64]),
            edges,
        };
        for level in 0..LEVELS {
            let bytes = tree.edge(level).len();
            if bytes as u64 != tree.edge_width(level) * tlog_tiles::HASH_SIZE as u64 {
                return Err(TreeError);
            }
        }
        if size == 0 {
            return Ok(tree);
        }
        let indexes = sub_tree_index(0, size, Vec::new());
        let hashes = reader.read_hashes(&indexes).map_err(|_| TreeError)?;
        for (index, hash) in indexes.into_iter().zip(hashes) {
            let (level, number) = split_stored_hash_index(index);
            tree.keep(usize::from(level), number, hash)?;
        }
        Ok(tree)
    }

    /// Records in the tree.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The root (RFC 6962 §2.1).
    ///
    /// # Errors
    ///
    /// [`TreeError`], which would be a mistake of ours.
    pub(crate) fn root(&self) -> Result<Hash, TreeError> {
        tree_hash(self.size, &self.frontier).map_err(|_| TreeError)
    }

    /// Number of the tile at the right edge of a level.
    pub(crate) const fn edge_number(&self, level: u8) -> u64 {
        match self.size.checked_shr(HEIGHT as u32 * (level as u32 + 1)) {
            Some(number) => number,
            None => 0,
        }
    }

    /// Hashes in the tile at the right edge of a level, 0 to 255.
    pub(crate) const fn edge_width(&self, level: u8) -> u64 {
        (self.size >> (HEIGHT as u32 * level as u32)) % WIDTH
    }

    /// The hashes of the tile at the right edge of a level.
    pub(crate) fn edge(&self, level: u8) -> &[u8] {
        self.edges
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }

    /// Adds a record and gives the tiles it made full.
    ///
    /// # Errors
    ///
    /// [`TreeError`], which would be a mistake of ours.
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<Vec<FullTile>, TreeError> {
        let leaf = record_hash(record);
        let hashes = stored_hashes_for_record_hash(self.size, leaf, &self.frontier)
            .map_err(|_| TreeError)?;
        let mut full = Vec::new();
        // `hashes[level]` is the root of a subtree of 2^level records that ends with this one.
        for (level, edge) in (0..LEVELS).zip(&mut self.edges) {
            let Some(hash) = hashes.get(usize::from(level) * usize::from(HEIGHT)) else {
                break;
            };
            edge.extend_from_slice(&hash.0);
            if edge.len() == TILE_BYTES {
                let shift = u32::from(HEIGHT) * (u32::from(level) + 1);
                let number = self.size.checked_shr(shift).unwrap_or_default();
                full.push(FullTile {
                    level,
                    number,
                    hashes: std::mem::take(edge),
                });
            }
        }
        if let Some((hash, lower)) = hashes.split_last() {
            self.keep(lower.len(), self.size >> lower.len(), *hash)?;
        }
        self.size += 1;
        Ok(full)
    }

    fn keep(&mut self, level: usize, number: u64, hash: Hash) -> Result<(), TreeError> {
        *self.frontier.0.get_mut(level).ok_or(TreeError)? = Some((number, hash));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog_tiles::{Tile, stored_hashes};

    /// All hashes of a tree, as `tlog_tiles` wants them stored.
    struct All(Vec<Hash>);

    impl HashReader for All {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
            Ok(indexes
                .iter()
                .map(|&index| self.0[usize::try_from(index).unwrap()])
                .collect())
        }
    }

    #[test]
    fn edge_gives_the_same_tiles_and_roots_as_the_whole_tree() {
        let mut tree = Tree::new();
        let mut all = All(Vec::new());
        let mut tiles = 0;
        assert_eq!(tree.root().unwrap(), tlog_tiles::EMPTY_HASH);
        for n in 0..70_000_u64 {
            let record = n.to_be_bytes();
            let hashes = stored_hashes(n, &record, &all).unwrap();
            all.0.extend(hashes);
            for full in tree.push(&record).unwrap() {
                let tile = Tile::new(HEIGHT, full.level, full.number, 256, false);
                assert_eq!(full.hashes, tile.read_data(&all).unwrap());
                tiles += 1;
            }
            if n % 997 == 0 || n > 69_990 || n.is_power_of_two() {
                assert_eq!(tree.root().unwrap(), tree_hash(n + 1, &all).unwrap());
                for level in 0..3 {
                    if tree.edge_width(level) > 0 {
                        let width = u32::try_from(tree.edge_width(level)).unwrap();
                        let tile = Tile::new(HEIGHT, level, tree.edge_number(level), width, false);
                        assert_eq!(tree.edge(level), tile.read_data(&all).unwrap());
                    }
                }
                let again = Tree::restore(n + 1, &all, tree.edges.clone()).unwrap();
                assert_eq!(again.root().unwrap(), tree.root().unwrap());
            }
        }
        assert_eq!(tiles, 70_000 / 256 + 1);
    }

    #[test]
    fn a_tree_restored_with_a_wrong_edge_is_refused() {
        let mut tree = Tree::new();
        let mut all = All(Vec::new());
        for n in 0..5_u64 {
            let hashes = stored_hashes(n, b"x", &all).unwrap();
            all.0.extend(hashes);
            tree.push(b"x").unwrap();
        }
        let mut edges = tree.edges;
        edges[0].truncate(4 * 32);
        assert_eq!(Tree::restore(5, &all, edges).unwrap_err(), TreeError);
    }
}
