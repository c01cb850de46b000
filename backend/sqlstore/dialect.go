package sqlstore

import "strings"

// dialect holds the statements as one kind of database wants them. They keep to what replicates safely as statements too:
// the whole primary key, no functions of the server, no LIMIT, nothing but what we give.
type dialect struct {
	put        multirow
	get        string
	list       string
	everything string
	purge      string

	leaseRead string
	leaseTake string
	// leaseFirst is the taking of a lease that nobody has held: there may be no row yet.
	leaseFirst string
	leaseBeat  string
}

// multirow is a statement that repeats one part for each row.
type multirow struct{ head, row, tail string }

func (m multirow) of(rows int) string {
	return m.head + m.row + strings.Repeat(",\n\t"+m.row, rows-1) + m.tail
}

// schema is the number of the table layout below. A database with a higher one was written by a newer program, which may rely on what
// this one would not keep.
const schema = 1

var sqliteTables = []string{`
CREATE TABLE record (
	kind     TEXT    NOT NULL,
	key      TEXT    NOT NULL,
	version  INTEGER NOT NULL,
	writer   TEXT    NOT NULL,
	deleted  INTEGER NOT NULL,
	document TEXT    NOT NULL,
	PRIMARY KEY (kind, key)
) WITHOUT ROWID`, `
CREATE TABLE lease (
	name   TEXT    NOT NULL,
	holder TEXT    NOT NULL,
	term   INTEGER NOT NULL,
	beat   INTEGER NOT NULL,
	PRIMARY KEY (name)
) WITHOUT ROWID`,
}

var sqlite = dialect{
	put: multirow{
		head: `
INSERT INTO record (
	kind,
	key,
	version,
	writer,
	deleted,
	document
) VALUES
	`, row: `(?, ?, ?, ?, ?, ?)`, tail: `
ON CONFLICT (kind, key) DO UPDATE SET
	version  = excluded.version,
	writer   = excluded.writer,
	deleted  = excluded.deleted,
	document = excluded.document
WHERE (excluded.version, excluded.writer) > (record.version, record.writer)`,
	},
	get: `
SELECT
	kind,
	key,
	version,
	writer,
	deleted,
	document
FROM record
WHERE kind = ?
AND key = ?
AND deleted = 0`,
	list: `
SELECT
	kind,
	key,
	version,
	writer,
	deleted,
	document
FROM record
WHERE kind = ?
AND deleted = 0
ORDER BY key`,
	everything: `
SELECT
	kind,
	key,
	version,
	writer,
	deleted,
	document
FROM record
ORDER BY kind, key`,
	purge: `
DELETE FROM record
WHERE kind = ?
AND version < ?
AND (deleted <> 0 OR ?)`,
	leaseRead: `
SELECT
	holder,
	term,
	beat
FROM lease
WHERE name = ?`,
	leaseTake: `
UPDATE lease SET
	holder = ?,
	term   = ?,
	beat   = ?
WHERE name = ?
AND holder = ?
AND term = ?
AND beat = ?`,
	leaseFirst: `
INSERT INTO lease (
	holder,
	term,
	beat,
	name
) VALUES
	(?, ?, ?, ?)
ON CONFLICT (name) DO NOTHING`,
	leaseBeat: `
INSERT INTO lease (
	name,
	holder,
	term,
	beat
) VALUES
	(?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
	holder = excluded.holder,
	term   = excluded.term,
	beat   = excluded.beat
WHERE (excluded.term, excluded.beat, excluded.holder) > (lease.term, lease.beat, lease.holder)`,
}
