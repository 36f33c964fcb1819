// Parses T-SQL texts with Microsoft's ScriptDom: SQL Server 2019's grammar, syntax only, no server.
// Input: lines of "NAME<tab>base64 of the text in UTF-8". Output: a line for each text that does not parse.
using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Microsoft.SqlServer.TransactSql.ScriptDom;

class Check {
  static int Main() {
    int seen = 0, wrong = 0;
    string line;
    while ((line = Console.In.ReadLine()) != null) {
      var tab = line.IndexOf('\t');
      if (tab < 0) continue;
      var sql = Encoding.UTF8.GetString(Convert.FromBase64String(line.Substring(tab + 1)));
      seen++;
      IList<ParseError> errors;
      new TSql150Parser(true).Parse(new StringReader(sql), out errors);
      if (errors.Count == 0) continue;
      wrong++;
      var start = sql.Replace('\n', ' ').Replace('\r', ' ');
      if (start.Length > 300) start = start.Substring(0, 300) + " ...";
      Console.WriteLine("{0}: line {1}: {2} {3}\n    {4}", line.Substring(0, tab), errors[0].Line, errors[0].Number, errors[0].Message, start);
    }
    Console.WriteLine("{0} texts parse, {1} do not", seen - wrong, wrong);
    return wrong > 0 ? 1 : 0;
  }
}
