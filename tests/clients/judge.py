"""One set of statements through one client of somebody else's; prints what came back as JSON.

python judge.py CLIENT ENCRYPTION HOST PORT PASSWORD DATABASE CERTIFICATE
"""
import datetime
import decimal
import json
import sys
import time
import uuid

client, encryption, host, port, password, database, certificate = sys.argv[1:8]


def connect(secret=password):
    if client == "mssql-python":
        import mssql_python

        return mssql_python.connect(
            f"SERVER={host},{port};DATABASE={database};UID=sa;PWD={secret};Encrypt={encryption};TrustServerCertificate=yes;"
        )
    if client == "pymssql":
        import pymssql

        return pymssql.connect(
            server=host, port=port, user="sa", password=secret, database=database, encryption=encryption, tds_version="7.4"
        )
    import pytds

    tls = {} if encryption == "none" else {"cafile": certificate, "validate_host": False, "enc_login_only": encryption == "login"}
    return pytds.connect(dsn=host, port=int(port), user="sa", password=secret, database=database, **tls)


def mark(sql):
    return sql.replace("%s", "?") if client == "mssql-python" else sql


def plain(value):
    """The same text for the same value, whatever Python type the client has chosen for it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, decimal.Decimal):
        text = format(value, "f")  # python-tds drops zeros at the end
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, (bytes, bytearray)):
        return "0x" + bytes(value).hex()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime):
        offset = value.utcoffset()
        text = value.replace(tzinfo=None).isoformat(" ", "microseconds")
        return text if offset is None else text + " " + str(int(offset.total_seconds() // 60))
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return value.isoformat("microseconds")
    return f"{type(value).__name__}: {value}"


def error_of(action):
    """The server's error number: each client has it elsewhere, the text has none in Microsoft's."""
    try:
        action()
    except Exception as error:  # noqa: BLE001: each client has errors of its own
        number = getattr(error, "number", None) or getattr(error, "msg_no", None)
        if number is None and error.args and isinstance(error.args[0], int):
            number = error.args[0]
        if number is None and error.args and isinstance(error.args[0], tuple):
            number = error.args[0][0]
        return {"number": number, "text": str(error)}
    return None


out = {}
connection = connect()
cursor = connection.cursor()


def rows(sql, parameters=()):
    cursor.execute(mark(sql), tuple(parameters)) if parameters else cursor.execute(sql)
    return [[plain(value) for value in row] for row in cursor.fetchall()]


TYPES = [
    ("bit", "1"), ("tinyint", "255"), ("smallint", "-32768"), ("int", "-2147483648"), ("bigint", "9223372036854775807"),
    ("decimal(38,10)", "-1234567890123456789012345678.0123456789"), ("numeric(5,2)", "123.45"),
    ("money", "922337203685477.5807"), ("smallmoney", "-214748.3648"),
    ("real", "0.5"), ("float", "1.7976931348623157e308"),
    ("char(5)", "'ab'"), ("varchar(20)", "'caf\u00e9 \u20ac'"), ("varchar(max)", "REPLICATE(CAST('x' AS varchar(max)), 20000)"),
    ("nchar(3)", "N'\u65e5'"), ("nvarchar(20)", "N'\u65e5\u672c \U0001F600'"), ("nvarchar(max)", "REPLICATE(CAST(N'\u00fc' AS nvarchar(max)), 9000)"),
    ("binary(4)", "0x0102"), ("varbinary(8)", "0xFF00"), ("varbinary(max)", "CAST(REPLICATE(CAST('y' AS varchar(max)), 9000) AS varbinary(max))"),
    ("date", "'0001-01-01'"), ("time(6)", "'23:59:59.999999'"), ("datetime", "'1753-01-01 00:00:00.997'"),
    ("smalldatetime", "'2079-06-06 23:59'"), ("datetime2(6)", "'9999-12-31 23:59:59.999999'"), ("datetime2(0)", "'2024-02-29 12:00:00'"),
    ("datetimeoffset(3)", "'2024-06-01 12:00:00.123 +05:30'"),
    ("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'"), ("xml", "N'<a b=\"1\">x</a>'"),
]
types = {}
for name, literal in TYPES:
    got = rows(f"SELECT CAST({literal} AS {name}), CAST(NULL AS {name})")
    types[name] = got[0]
table = ", ".join(f"c{i} {name} NOT NULL, n{i} {name} NULL" for i, (name, _) in enumerate(TYPES))
cursor.execute(f"CREATE TABLE #types ({table})")
cursor.execute("INSERT INTO #types VALUES (" + ", ".join(f"{literal}, NULL" for _, literal in TYPES) + ")")
stored = rows("SELECT * FROM #types")[0]
out["types"] = types
out["stored alike"] = [name for i, (name, _) in enumerate(TYPES) if stored[2 * i : 2 * i + 2] != types[name]]

PARAMETERS = [
    7, -1, 2**40, 1.5, "text", "\u65e5\u672c", None, decimal.Decimal("12.3400"), datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 12, 13, 14), b"\x00\xff", "",
]
if client == "python-tds":
    from pytds import Binary  # bytes alone are text to it

    PARAMETERS = [Binary(value) if isinstance(value, bytes) else value for value in PARAMETERS]
cursor.execute("CREATE TABLE #p (id int NOT NULL, i bigint, f float, t nvarchar(50), d decimal(10,4), a date, b datetime2(3), v varbinary(10))")
COLUMN = {int: "i", float: "f", str: "t", type(None): "t", decimal.Decimal: "d", datetime.date: "a", datetime.datetime: "b", bytes: "v"}
for number, value in enumerate(PARAMETERS):
    column = "v" if isinstance(value, bytes) else COLUMN[type(value)]
    cursor.execute(mark(f"INSERT INTO #p (id, {column}) VALUES (%s, %s)"), (number, value))
out["parameters"] = rows("SELECT * FROM #p ORDER BY id")
out["by parameter"] = rows("SELECT id FROM #p WHERE t = %s AND id > %s", ("TEXT", 0))
connection.commit()

cursor.execute("CREATE TABLE dbo.judged (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL)")
connection.commit()
cursor.execute("INSERT INTO dbo.judged VALUES (1, N'kept')")
connection.commit()
cursor.execute("INSERT INTO dbo.judged VALUES (2, N'lost')")
inside = rows("SELECT COUNT(*), @@TRANCOUNT FROM dbo.judged")
connection.rollback()
out["transaction"] = [inside, rows("SELECT COUNT(*) FROM dbo.judged")]
connection.commit()

errors = {}
for name, sql in [
    ("duplicate", "INSERT INTO dbo.judged VALUES (1, N'again')"), ("divide", "SELECT 1/0"), ("syntax", "SELECT 1 FROM"),
    ("object", "SELECT * FROM dbo.nowhere"), ("raised", "RAISERROR('mine', 16, 1)"), ("thrown", "THROW 51234, 'mine too', 1"),
    ("conversion", "SELECT CAST('x' AS int)"),
]:
    def attempt():
        cursor.execute(sql)
        cursor.fetchall()

    errors[name] = error_of(attempt)
    connection.rollback()
errors["login"] = error_of(lambda: connect("wrong"))
out["errors"] = errors
out["after errors"] = rows("SELECT 42")

cursor.execute("SELECT 1 AS a; SELECT 2 AS b")
sets = [[plain(v) for row in cursor.fetchall() for v in row]]
while cursor.nextset():
    sets.append([plain(v) for row in cursor.fetchall() for v in row])
out["sets"] = sets
NUMBERS = "WITH n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000) "
out["many"] = rows(NUMBERS + "SELECT COUNT(*), SUM(n) FROM n OPTION (MAXRECURSION 0)")
cursor.execute(NUMBERS + "SELECT n, REPLICATE('r', 100) FROM n OPTION (MAXRECURSION 0)")
out["fetched"] = len(cursor.fetchall())
cursor.execute("UPDATE dbo.judged SET v = N'changed' WHERE id = 1")
out["row count"] = cursor.rowcount  # Microsoft's client says -1: it does not know
connection.commit()

cursor.execute("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'judged', @role_name = NULL")
connection.commit()
for sql in ["INSERT INTO dbo.judged VALUES (5, N'five')", "UPDATE dbo.judged SET v = NULL WHERE id = 5", "DELETE FROM dbo.judged WHERE id = 5"]:
    cursor.execute(sql)
    connection.commit()
until = time.time() + 30
while time.time() < until:
    changes = rows(
        "DECLARE @from binary(10) = sys.fn_cdc_get_min_lsn('dbo_judged'), @to binary(10) = sys.fn_cdc_get_max_lsn(); "
        "IF @to >= @from SELECT __$operation, __$update_mask, id, v "
        "FROM cdc.fn_cdc_get_all_changes_dbo_judged(@from, @to, N'all update old') ORDER BY __$start_lsn, __$seqval, __$operation "
        "ELSE SELECT __$operation, __$update_mask, id, v FROM cdc.dbo_judged_CT WHERE 1 = 0"
    )
    connection.commit()
    if len(changes) >= 4:
        break
    time.sleep(0.05)
out["changes"] = changes
connection.close()
print(json.dumps(out))
