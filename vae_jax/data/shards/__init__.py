"""A corpus that need not fit in memory: its examples in files of records, written once and read at random.

`writing` turns files into shards, `reading` opens them, `examples` gives their batches to the training loop, `shown`
picks the pieces of a run that are evaluated and shown. `layout` says what lies where:

    plan.json                       what is written here, from the first moment on
    chunk-00012.json                the files of a chunk and what became of each; written last of its chunk
    examples-00012.array_record     a record an example, of the layout that the manifest states
    pieces-00012.array_record       a record a piece: its packed score
    tunes-00012.npy                 melodic shingles of its pieces, uint64, one piece after the other
    groups.npy                      the tune of every piece, int32
    ingest.json                     every file with its status and reasons
    shards.json                     the manifest; written last of all
"""
