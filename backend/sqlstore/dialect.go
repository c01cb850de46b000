package sqlstore

import "strings"

// dialect holds the statements for one kind of database. They use only what replicates safely as statements: the whole
// primary key, no functions of the server, no LIMIT, only our values.
type dialect struct {
	merge      multirow
	get        string
	list       string // of one kind: the live, or all
	everything string
	purge      string

	leaseRead string
	leaseTake string
	// leaseFirst takes a lease that no daemon has held: there may be no row yet.
	leaseFirst string
	leaseBeat  string
}

// multirow is a statement that repeats one part for each row.
type multirow struct {
	head, row, tail string
	// most is how many bytes the server takes in one statement; 0: as many as we send. It ends the connection at a
	// longer one, often before it says why.
	most int64
}

func (m multirow) of(rows int) string {
	return m.head + m.row + strings.Repeat(",\n\t"+m.row, rows-1) + m.tail
}

// schema is the number of the table layout below. A database with a higher number was written by a newer program,
// which may rely on what this one would not preserve.
const schema = 1

// sqliteTables are strict: what has another type than its column is not taken. Older files have the same tables
// without that.
var sqliteTables = []string{`
CREATE TABLE record (
	kind     TEXT    NOT NULL,
	key      TEXT    NOT NULL,
	version  INTEGER NOT NULL,
	writer   TEXT    NOT NULL,
	deleted  INTEGER NOT NULL,
	document TEXT    NOT NULL,
	PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID`, `
CREATE TABLE lease (
	name   TEXT    NOT NULL,
	holder TEXT    NOT NULL,
	term   INTEGER NOT NULL,
	beat   INTEGER NOT NULL,
	PRIMARY KEY (name)
) STRICT, WITHOUT ROWID`,
}

// What has the wrong type, in a file of an older program, is unreadable, and gives way to what is written: it compares
// as higher than all numbers.
var sqlite = dialect{
	merge: multirow{
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
WHERE (excluded.version, excluded.writer) > (record.version, record.writer)
OR typeof(record.version) <> 'integer'
OR typeof(record.deleted) <> 'integer'`,
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
AND (deleted = 0 OR typeof(deleted) <> 'integer')`,
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
AND (deleted = 0 OR typeof(deleted) <> 'integer' OR ?)
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
WHERE typeof(lease.term) <> 'integer'
OR typeof(lease.beat) <> 'integer'
OR typeof(lease.holder) <> 'text'`,
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
WHERE (excluded.term, excluded.beat, excluded.holder) > (lease.term, lease.beat, lease.holder)
OR typeof(lease.term) <> 'integer'
OR typeof(lease.beat) <> 'integer'
OR typeof(lease.holder) <> 'text'`,
}

// mysqlTables are for MySQL and MariaDB. Names are VARBINARY: keys that differ only in case, accents or trailing
// spaces are different, and bytes order them. No second unique key, no AUTO_INCREMENT: either makes an upsert unsafe to
// replicate as a statement. The index on version is for the newest one, which each new connection reads.
var mysqlTables = []string{`
CREATE TABLE IF NOT EXISTS record (
	kind     VARBINARY(64)  NOT NULL,
	` + "`key`" + `    VARBINARY(512) NOT NULL,
	version  BIGINT         NOT NULL,
	writer   VARBINARY(255) NOT NULL,
	deleted  TINYINT        NOT NULL,
	document LONGTEXT       NOT NULL,
	PRIMARY KEY (kind, ` + "`key`" + `),
	KEY version (version)
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin`, `
CREATE TABLE IF NOT EXISTS lease (
	name   VARBINARY(64)  NOT NULL,
	holder VARBINARY(512) NOT NULL,
	term   BIGINT         NOT NULL,
	beat   BIGINT         NOT NULL,
	PRIMARY KEY (name)
) ENGINE = InnoDB, CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin`,
}

// The assignments of ON DUPLICATE KEY UPDATE run from left to right, and each sees the results of those before it. So
// every column is assigned before the columns in its condition change: document, deleted and writer depend on the old
// version and the old writer; the version comes last, and depends only on itself: a winner's version is not lower, a
// loser's is not higher. The same applies to the rows of the lease.

// mariadb is for MariaDB, and for MySQL before 8.0.19.
var mariadb = dialect{
	merge: multirow{
		head: `
INSERT INTO record (
	kind,
	record.key,
	version,
	writer,
	deleted,
	document
) VALUES
	`, row: `(?, ?, ?, ?, ?, ?)`, tail: `
ON DUPLICATE KEY UPDATE
	document = IF((VALUES(version), VALUES(writer)) > (record.version, record.writer), VALUES(document), record.document),
	deleted  = IF((VALUES(version), VALUES(writer)) > (record.version, record.writer), VALUES(deleted), record.deleted),
	writer   = IF((VALUES(version), VALUES(writer)) > (record.version, record.writer), VALUES(writer), record.writer),
	version  = GREATEST(VALUES(version), record.version)`,
	},
	get: `
SELECT
	kind,
	record.key,
	version,
	writer,
	deleted,
	document
FROM record
WHERE kind = ?
AND record.key = ?
AND deleted = 0`,
	list: `
SELECT
	kind,
	record.key,
	version,
	writer,
	deleted,
	document
FROM record
WHERE kind = ?
AND (deleted = 0 OR ?)
ORDER BY record.key`,
	everything: `
SELECT
	kind,
	record.key,
	version,
	writer,
	deleted,
	document
FROM record
ORDER BY kind, record.key`,
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
	name,
	holder,
	term,
	beat
) VALUES
	(?, ?, ?, ?)
ON DUPLICATE KEY UPDATE
	holder = lease.holder`,
	leaseBeat: `
INSERT INTO lease (
	name,
	holder,
	term,
	beat
) VALUES
	(?, ?, ?, ?)
ON DUPLICATE KEY UPDATE
	holder = IF((VALUES(term), VALUES(beat), VALUES(holder)) > (lease.term, lease.beat, lease.holder), VALUES(holder), lease.holder),
	beat   = IF((VALUES(term), VALUES(beat)) > (lease.term, lease.beat), VALUES(beat), lease.beat),
	term   = GREATEST(VALUES(term), lease.term)`,
}

// mysql8 is for MySQL 8.0.19 and later, where VALUES(column) is deprecated: the new row has a name instead. Everything
// else is the same.
var mysql8 = func() dialect {
	d := mariadb
	d.merge.tail = `
AS n ON DUPLICATE KEY UPDATE
	document = IF((n.version, n.writer) > (record.version, record.writer), n.document, record.document),
	deleted  = IF((n.version, n.writer) > (record.version, record.writer), n.deleted, record.deleted),
	writer   = IF((n.version, n.writer) > (record.version, record.writer), n.writer, record.writer),
	version  = GREATEST(n.version, record.version)`
	d.leaseBeat = `
INSERT INTO lease (
	name,
	holder,
	term,
	beat
) VALUES
	(?, ?, ?, ?)
AS n ON DUPLICATE KEY UPDATE
	holder = IF((n.term, n.beat, n.holder) > (lease.term, lease.beat, lease.holder), n.holder, lease.holder),
	beat   = IF((n.term, n.beat) > (lease.term, lease.beat), n.beat, lease.beat),
	term   = GREATEST(n.term, lease.term)`
	return d
}()
