"""Every tunable number: its unit, what it bounds, and what raising it costs."""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024

SEGMENT_FORMAT_VERSION: Final = 2
"""Version written into each footer. Raise it when an old reader would misread a new file."""

WINDOW_NS: Final = 3600 * 10**9
"""Nanoseconds. Default length of a window: no segment crosses one. Longer windows make fewer,
larger segments after compaction, and coarser pruning and retention."""

ROLLUP_TIERS_NS: Final = tuple(each * 10**9 for each in (10, 60, 300, 1200, 3600))
"""Nanoseconds. Lengths of the buckets of each tier of a rollup. More tiers cost about a tenth of
the first one each, and answer more questions without reading points."""

ROLLUP_ROW_BYTES: Final = 600
"""Bytes of memory that a rollup takes for each point it has at hand. Points beyond the memory
setting are summed up some metrics at a time."""

AGGREGATE_REACH_NS: Final = 48 * 3600 * 10**9
"""Nanoseconds. How far back rules that make metrics of logs and spans look by themselves. More pick
up later rows, and cost more: windows in which a rule found nothing are looked at each time."""

ROLLUP_SETTLE_SECONDS: Final = 120.0
"""Seconds that a rollup which runs all the time waits after the end of a window. More let more late
points come, and save sums that are made anew."""

MEMORY_BYTES: Final = 512 * MIB
"""Bytes. Default ceiling for the resident memory of one ingesting process."""

MEMORY_FLOOR_BYTES: Final = 192 * MIB
"""Bytes. What the interpreter, Arrow and the decoder occupy before any input; the rest of the
memory setting is divided among the stages of a batch."""

BATCH_OBJECTS: Final = 512
"""Objects in one commit at most. More make fewer commits, and more to repeat after a crash."""

OBJECT_BYTES: Final = 4 * 1024 * MIB
"""Bytes after decompression that one object may hold; protects against decompression bombs."""

ATTRIBUTE_COLUMNS: Final = 400
"""Attribute columns of one segment; rarer attributes go to the overflow map. Each further column
costs about a kilobyte of footer and some planning time in every query that opens the segment."""

COMPRESSION_RATIO: Final = 500
"""How many times larger than its compressed bytes an object may be. Telemetry reaches about a
hundred; what is beyond this limit says the same over and over, or is there to fill memory."""

COMPRESSION_BYTES: Final = 64 * MIB
"""Bytes after decompression up to which `COMPRESSION_RATIO` is not asked for."""

NESTING_DEPTH: Final = 64
"""Levels of nested maps and arrays in one value; deeper input is set aside."""

STAT_VALUES: Final = 64
"""Distinct values of a low-cardinality column that the catalog lists one by one."""

STAT_TEXT: Final = 128
"""Characters of a text bound in the catalog; longer bounds are cut (min) or dropped (max)."""

ID_FILTER_BITS: Final = 65_536
"""Bits of the filter of trace ids that the catalog keeps for a segment, at most. Read with every
description, so a larger one makes planning of all queries slower; a column of more ids than a
quarter of it has none."""

FILTER_ROWS: Final = 65_536
"""Rows of one section of a token filter: what a search reads around a word that it finds. Smaller
sections read less, and take more bits a word, for each may be wrong."""

FILTER_SECTIONS: Final = 8
"""Sections up to which a segment is read in vain no more often than `FILTER_FALSE_SHARE` says."""

FILTER_FALSE_SHARE: Final = 0.01
"""Share of segments in which a token filter takes an absent word for present. A tenth of it costs
half as many bytes again."""

FILTER_CHUNK_BYTES: Final = 2_048
"""Bytes of a token filter that are read for one word, of each section."""

FILTER_GROUP: Final = 16
"""Sections whose chunks for one word lie side by side, so that one read is enough for them."""

ONE_REQUEST_BYTES: Final = 8_388_608
"""What a query reads of a segment in a bucket at once, though it may need little of it: as much as
comes in the time of the requests that it would take to find out."""

FILTER_GAP_BYTES: Final = 65_536
"""What is read in vain of a token filter in a bucket, rather than to ask a second time."""

FILTER_GRAMS: Final = 32_768
"""Distinct runs of three bytes within words, beyond which a section has no filter of them: in
random text there are so many that they exclude nothing."""

DECODED_SEGMENTS: Final = 16_384
"""Descriptions of segments that a process remembers, the most recently used ones: 5 to 10 KB each
for a dozen columns."""

FILTER_CACHE_BYTES: Final = 128 * MIB
"""Bytes of token filters that a query engine keeps between queries."""

STREAM_CACHE_BYTES: Final = 128 * MIB
"""Bytes of names and labels of series that a query engine keeps between PromQL queries, and not
more than a quarter of `query_memory_bytes`: about 150 for each series of a selector."""

FILTER_RANGES: Final = 16
"""Ranges of rows that a query is told to look at, where token filters leave only parts of segments.
Each is compared with every row of the pages that are read."""

FILTER_TOKENS: Final = 256
"""Values of a list and alternatives of a condition that are looked for in token filters; of more
nothing is known. Each costs some microseconds a segment."""

BLOOM_FALSE_SHARE: Final = 0.01
"""Share of absent trace ids that a Parquet Bloom filter lets pass. Costs about 10 bits an id."""

ROW_GROUP_ROWS: Final = 131_072
"""Rows in a Parquet row group. Larger groups compress no better and prune worse."""

ROW_GROUP_BYTES: Final = 128 * MIB
"""Bytes of Arrow data in a row group, about: what a segment that is written in a stream holds."""

PAGE_ROWS: Final = 4096
"""Rows in a Parquet page: the finest unit that the page index can skip. Half as many cost
2 % of size."""

ZSTD_LEVEL: Final = 1
"""Level 3 costs half as much time again for 2 % fewer bytes."""

ORPHAN_GRACE_NS: Final = 24 * 3600 * 10**9
"""Nanoseconds. Age below which an object that no commit names is left alone: a commit may still be
on its way, and its writer would have to begin again."""

ORPHANS_UNUSUAL: Final = 50
"""Files that a collection deletes without asking what share of the lake they are."""

ORPHANS_SHARE: Final = 0.5
"""Share of a lake's files above which a collection of more than those stops: a catalog that names
so few of them is more often the wrong one than the right one. It can be told to go on."""

REMOVED_GRACE_NS: Final = 24 * 3600 * 10**9
"""Nanoseconds. How long a removed segment stays readable, counted from its removal: for queries
under way, and for `Lake.at`. More keep more of the past, and more bytes."""

RANGE_GAP_BYTES: Final = 64 * 1024
"""Bytes. Two ranges closer than this are read in one request: cheaper than a second round trip."""

READ_ATTEMPTS: Final = 5
"""Reads of one object that keeps changing under its reader before the store is unavailable."""

ATTEMPTS: Final = 5
"""Times a request is made, at most, while it fails in a way that may pass. Each further one doubles
the time before a failure is told."""

BACKOFF_SECONDS: Final = 0.2
"""Seconds before the first repetition; the pause doubles with each further one."""

STORE_REQUESTS: Final = 16
"""Requests that one query has under way at once when it looks for its segments in a bucket."""

STORE_TIMEOUT_SECONDS: Final = 30
"""Seconds a storage service may send nothing before a request counts as failed."""

PUT_BYTES: Final = 5 * 1024 * MIB
"""Bytes of one object at most in a storage service: what S3 takes in one request."""

CATALOG_BUSY_MS: Final = 30_000
"""Milliseconds a catalog waits for another writer before it gives up; in PostgreSQL, what one
statement may take, and how long a writer may stand still in the middle of a commit."""

CATALOG_GRACE_NS: Final = 600 * 10**9
"""Nanoseconds, by the clock of the store, that a superseded object of a bucket catalog stays: for
readers who are about to read it, who else would begin again. More keep more of its log."""

CATALOG_CACHE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a bucket catalog's checkpoints that an open catalog keeps, of those that are read piece
by piece. More save requests where many objects are looked up again."""

CATALOG_CONNECT_S: Final = 10
"""Seconds a catalog server has to accept a connection, and a caller waits for a free one."""

CATALOG_CONNECTIONS: Final = 8
"""Connections of one process to a catalog server at most; further callers wait for a free one."""

CLOCK_SLACK_NS: Final = 10 * 10**9
"""Nanoseconds added to the upper time bound of a query that mentions the current time."""

HOT_SEGMENT_BYTES: Final = 64 * MIB
"""Size of a segment up to which it is copied from a bucket as a whole, where there is a directory
for copies: larger ones are read in parts, and most of what would be copied would not be read."""

ROUND_ROWS: Final = 100_000
"""Rows in order of time that a query may ask for and still be answered segment by segment, from the
newest or the oldest. They are held in memory; more are sorted by DataFusion, which can spill."""

QUERY_DRAFTS: Final = 256
"""Texts of queries of which an engine keeps what was found out about them before any file: what
they ask of which columns. Some 100 KB each."""

BRIEF_ROWS: Final = 1_000_000
"""Rows of the segments that a query reads up to which it may run in the thread that asks for it,
without a change of threads, if it joins nothing: it can be stopped only when it has ended."""

BRIEF_BYTES: Final = 64 * MIB
"""Bytes of these segments."""

FOOTER_CACHE_BYTES: Final = 256 * MIB
"""Bytes of Parquet footers and statistics that a query engine keeps between queries."""

QUERY_TEXT_CHARS: Final = 4 * 1024 * 1024
"""Characters that the text of a query may have."""

QUERY_CHAIN: Final = 5000
"""Words and operators that a query may chain without a comma, as in `a AND b AND c`. Each link
makes the parse tree deeper, and some thousands more would exhaust the stack."""

QUERY_VALUE_SIZE: Final = 100_000
"""Characters or elements that a function such as `repeat` may be told to make of one value."""

QUERY_GROUPING_SETS: Final = 256
"""Ways to group rows that one query asks for by CUBE, ROLLUP or GROUPING SETS. Each holds groups of
its own."""

QUERY_SCANS: Final = 256
"""Times that a query reads its tables, with common table expressions put in wherever one is named.
Each costs about a millisecond of planning, and there may be twice as many with each expression."""

QUERY_PLANNED_CHARS: Final = 1280 * 1024
"""Characters of a query beside long lists in `IN (…)`. DataFusion takes up to 0.1 ms for each value
that it plans, and some microseconds even for a blank."""

QUERY_LISTED_VALUES: Final = 2000
"""Values of a bound list up to which `IN` names them one by one, so that segments are pruned by
them; a longer list is joined like a table."""

QUERY_MEMORY_BYTES: Final = 1024 * MIB
"""Bytes that the sorts, joins and aggregations of all queries of one engine may hold together;
beyond it, sorts and aggregations spill to disk. Scans and results in flight come on top."""

QUERY_CONCURRENCY: Final = 32
"""Queries of one engine that work at the same time, in its own process; further ones wait for their
turn. A result that nobody reads from has none."""

QUERY_CONCURRENCY_EACH: Final = 16
"""Queries of one organization that work at the same time."""

QUERY_WAIT_SECONDS: Final = 60.0
"""Seconds that a query waits for its turn before it is told to come later."""

INLINE_TEXT_CHARS: Final = 4096
"""Characters of a query that may run beside others in the engine's own process; a longer one gets
a process of its own. A constant is repeated for each row of a batch, so length is memory."""

INLINE_TABLES: Final = 8
"""Names of tables, of common table expressions and of subqueries in such a query, each time one is
named. They multiply: 8 names make 20 scans at most, 40 could make a million."""

INLINE_DOUBLINGS: Final = 8
"""Texts or lists that are put together in such a query, if it has subqueries."""

INLINE_PAIRS: Final = 10_000_000
"""Pairs of rows that the joins of such a query may meet, by the rows of the segments: well below a
second of work. More make joins that nobody can interrupt, and during which no other query moves."""

QUERY_WORKERS: Final = 4
"""Processes for queries that one engine has at the same time; each may hold `QUERY_MEMORY_BYTES`
and `WORKER_SPARE_BYTES`. None is started before a query needs it, unless all queries run in one."""

QUERY_WORKERS_EACH: Final = 2
"""Those that work for one organization at the same time."""

WORKER_SPARE_BYTES: Final = 512 * MIB
"""Bytes that a worker may hold beyond what it starts with and what its operators may hold: scans
and batches on their way, and what DataFusion does not account for. A query that needs more ends,
with its process."""

WORKER_NICE: Final = 10
"""By how much the priority of a worker is lowered, where queries also run in the engine's process:
what runs in a worker then is what would slow the others down."""

WORKER_CACHE_BYTES: Final = 64 * MIB
"""Bytes of footers and statistics that one worker keeps between queries."""

WORKER_IDLE_SECONDS: Final = 300.0
"""Seconds without a query after which a worker ends. Another one takes about a second to start."""

WORKER_CANCEL_SECONDS: Final = 0.25
"""Seconds that a worker has to end a query by itself before its process is ended."""

WORKER_WATCH_SECONDS: Final = 0.02
"""Seconds between two looks at the memory of a worker that has not answered yet."""

QUERY_FANOUT_BYTES: Final = 128 * MIB
"""Bytes of segments from which on a query is dealt out to the executor of its engine. Less makes
short queries wait for workers; more lets long ones wait for one machine."""

FANOUT_ROUNDS: Final = 3
"""Parts of a query for each worker. More end closer together, and each costs some milliseconds."""

FANOUT_PARTS: Final = 256
"""Parts of a query at most, where an executor does not say how many workers it has."""

QUERY_CACHE_BYTES: Final = 4096 * MIB
"""Bytes of segments that an engine keeps as local files between queries, for stores whose objects
are no files and which DataFusion cannot read by itself. More save downloads and fill the disk."""

FINGERPRINT_CHARS: Final = 16_384
"""Characters of a log body that its fingerprint may depend on. Changing it changes fingerprints."""

FINGERPRINT_RULES: Final = 2
"""Version of the rules by which templates and fingerprints of log rows are made; each segment says
by which its own were. Raise it with every change that gives a body another template."""

TEMPLATE_CHARS: Final = 1024
"""Characters of a template. The rest of a longer one is cut off, and messages that differ only
there share a fingerprint. Changing it changes fingerprints."""

REJECTIONS_OF_AN_OBJECT: Final = 100
"""Distinct reasons for which lines of one object are set aside and listed one by one."""

COMPACT_TARGET_BYTES: Final = 256 * MIB
"""Bytes up to which the segments of a window are merged into one. Larger ones make fewer requests,
and more to write again after a failure."""

COMPACT_LEVELS: Final = 4
"""Times that a row is written again, at most, however many segments follow one another in its
window. More make fewer small segments where rows come late for days, and more bytes written."""

COMPACT_INPUTS: Final = 512
"""Segments that become one in a single step at most; the description of the new one names them."""

COMPACT_OPEN: Final = 32
"""Segments that a merge reads at the same time. More are merged in several passes on local disk."""

COMPACT_FAN_IN: Final = 8
"""Segments of one level that are merged while their window still receives more. Fewer keep windows
under way tidier, and write their rows more often."""

COMPACT_SETTLE_NS: Final = 600 * 10**9
"""Nanoseconds after the end of a window in which more is expected to come for it."""

COMPACT_WATCH_SECONDS: Final = 60.0
"""Seconds between two looks of a compactor that goes on until it is stopped."""

PROMOTED_SHARE: Final = 256
"""An attribute of the overflow map that one row in so many has gets a column of its own when its
segments are merged, as long as there are columns left."""

WATCH_SECONDS: Final = 10.0
"""Seconds an object that was announced may wait for others to share a segment with. More make
fewer, larger segments, and later answers."""

WATCH_POLL_SECONDS: Final = 2.0
"""Seconds that a watcher asks an event source to wait for an event, at most. More make fewer
requests to an idle queue; a watcher that is told to stop does so when the wait is over."""

WATCH_LEASE_SECONDS: Final = 60.0
"""Seconds after which a queue hands out again what a watcher that died had received."""

WATCH_BACKOFF_SECONDS: Final = 60.0
"""Seconds at most before an event whose object could not be taken for now is handed out again;
begins at one and doubles."""

LISTED_ATTEMPTS: Final = 3
"""Times an object that was listed is read before its absence is believed and recorded."""

MISSING_ATTEMPTS: Final = 4
"""Times an announced object is looked for before it counts as gone."""

WATCH_REPORTED: Final = 1000
"""Rejections that the report of a watcher keeps, the latest ones; the catalog keeps them all."""

POLL_REMEMBERED: Final = 200_000
"""Keys that a poller remembers so as not to announce them again, about 200 bytes each. Of further
ones the catalog is asked again after each full listing."""

LEASE_SECONDS: Final = 60.0
"""Seconds after which others may take up a task of maintenance whose worker died. Less make more
requests, for a lease is renewed each third of it."""

SETBACK_PAUSE_NS: Final = 60 * 10**9
"""Pause in nanoseconds after a task of maintenance failed; it doubles with each further failure."""

SETBACK_PAUSE_NS_MOST: Final = 6 * 3600 * 10**9
"""The longest such pause."""

SETBACK_KEPT_NS: Final = 30 * 86_400 * 10**9
"""Age in nanoseconds from which a note of a failure is deleted: nobody has tried the task since, so
there is no such task any more."""

RETENTION_NS: Final = 30 * 86_400 * 10**9
"""How long rows are kept where a setting says `default`, in nanoseconds."""

MAINTAIN_SECONDS: Final = 60.0
"""Seconds between two runs of a `Maintainer`, at most."""

MAINTAIN_SECONDS_MOST: Final = 3600.0
"""The longest pause of a `Maintainer` whose runs fail; it doubles with each."""
