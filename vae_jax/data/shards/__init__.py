"""A corpus in a folder of files of records that are read at random, so that it need not fit in memory.

plan.json                       the corpus and the representation; written first
examples-00012.array_record     chunk 12: a record an example, of the layout in the manifest
pieces-00012.array_record       a record a piece: its packed score
tunes-00012.array_record        a record a piece: its melodic shingles
chunk-00012.json                the chunk's files and their status; written last of the chunk
shards.json                     the manifest: every file with its status, reasons and tune; written last of all
"""
