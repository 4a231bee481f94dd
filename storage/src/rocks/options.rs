//! How RocksDB is set up, and why so.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    DataBlockIndexType, LogLevel,
};

use crate::Table;

/// What an operator may want to size. The defaults keep the store below about 256 MiB of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the cache that all tables share, indices and filters included.
    pub cache_bytes: usize,
    /// Bytes of unflushed writes, all tables together.
    pub write_buffer_bytes: usize,
    /// Bytes of log that make the database flush what holds them back, so that logs are deleted and a start is quick.
    pub max_log_bytes: u64,
    /// Files held open.
    pub max_open_files: i32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 96 << 20,
            write_buffer_bytes: 128 << 20,
            max_log_bytes: 256 << 20,
            max_open_files: 512,
        }
    }
}

/// Options of the whole database.
pub(super) fn database(options: &Options, create: bool, create_tables: bool) -> rocksdb::Options {
    let mut out = rocksdb::Options::default();
    // Never made anew where one was: an empty database in place of a lost one would forget every vote.
    out.create_if_missing(create);
    out.create_missing_column_families(create_tables);
    out.set_paranoid_checks(true);
    // Replay stops at the first record that does not check out; the number of the last synced write then tells whether
    // only an unsynced tail is gone. See docs/decisions/0002-durability.md.
    out.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // A closed log that is missing or shorter than it was when synced is noticed by the database itself.
    out.set_track_and_verify_wals_in_manifest(true);
    out.set_db_write_buffer_size(options.write_buffer_bytes);
    out.set_max_total_wal_size(options.max_log_bytes);
    // No `recycle_log_file_num`: clients' bytes would lie behind the end of the log, where a start reads on.
    out.set_max_open_files(options.max_open_files);
    out.set_max_background_jobs(2);
    // Spreads the write-back of flushes and of unsynced log, so that a sync finds little to do.
    out.set_bytes_per_sync(1 << 20);
    out.set_wal_bytes_per_sync(512 << 10);
    // RocksDB's own text log, for the operator.
    out.set_log_level(LogLevel::Warn);
    out.set_max_log_file_size(4 << 20);
    out.set_keep_log_file_num(4);
    out
}

/// The tables, and the default family, which holds the number of the last synced write.
pub(super) fn families(options: &Options) -> Vec<ColumnFamilyDescriptor> {
    // Without a lock and a list for each lookup. It finds out by itself how large its entries are.
    let cache = Cache::new_hyper_clock_cache(options.cache_bytes, 0);
    let default = ColumnFamilyDescriptor::new(
        rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
        family(&cache, 1 << 20, DBCompressionType::None),
    );
    let tables = Table::ALL
        .into_iter()
        .map(|table| ColumnFamilyDescriptor::new(table.name(), table_options(table, &cache)));
    std::iter::once(default).chain(tables).collect()
}

fn table_options(table: Table, cache: &Cache) -> rocksdb::Options {
    match table {
        // Large values, written once and deleted by expiry: out of the way of compaction. Mostly signatures and keys,
        // which do not compress.
        Table::Batches | Table::Staging => {
            let mut out = family(cache, 32 << 20, DBCompressionType::None);
            out.set_enable_blob_files(true);
            out.set_min_blob_size(1 << 10);
            out.set_blob_file_size(128 << 20);
            out.set_enable_blob_gc(true);
            out.set_blob_gc_age_cutoff(0.25);
            out.set_blob_gc_force_threshold(0.5);
            out
        }
        // Digests do not compress.
        Table::Places | Table::Accumulator => family(cache, 16 << 20, DBCompressionType::None),
        Table::State => {
            // A listing for clients walks over every deleted key in front of what it finds (commands do not: they ask the
            // tree), and anybody who may write can delete many and ask again and again. So a scan that has passed 4,096 of them in memory has them written out, and a
            // file with 1,024 deletions among 4,096 entries anywhere, or a quarter of it deletions, is merged soon, and
            // what is deleted goes.
            let scanned = "memtable_op_scan_flush_trigger=4096";
            let out = rocksdb::Options::default().get_options_from_string(scanned);
            let out = out.expect("the database that is linked knows this option");
            let mut out = tuned(out, cache, 32 << 20, DBCompressionType::Lz4);
            out.add_compact_on_deletion_collector_factory(4_096, 1_024, 0.25);
            out
        }
        Table::Tree | Table::Receipts => family(cache, 32 << 20, DBCompressionType::Lz4),
        Table::Meta | Table::Blocks | Table::Ledger | Table::Certificates => {
            family(cache, 16 << 20, DBCompressionType::Lz4)
        }
    }
}

fn family(cache: &Cache, write_buffer: usize, compression: DBCompressionType) -> rocksdb::Options {
    tuned(
        rocksdb::Options::default(),
        cache,
        write_buffer,
        compression,
    )
}

fn tuned(
    mut out: rocksdb::Options,
    cache: &Cache,
    write_buffer: usize,
    compression: DBCompressionType,
) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_block_size(8 << 10);
    // Every write reads what its key held before: most lookups are of one key that is there.
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    out.set_block_based_table_factory(&blocks);
    out.set_write_buffer_size(write_buffer);
    // What was just flushed is read and merged soon, and so is the first level; to compress it is work for little disk.
    out.set_compression_type(compression);
    let none = DBCompressionType::None;
    out.set_compression_per_level(&[none, none, compression]);
    // Most keys that are looked up are not in the memtable: new ones, and old ones that were flushed.
    out.set_memtable_prefix_bloom_ratio(0.05);
    out.set_memtable_whole_key_filtering(true);
    out
}
