/// Columns of text under a heading; numbers stand right, names left.
struct TextTable {
    /// A column's heading and where its cells stand.
    struct Column {
        let title: String
        var isNumber = true
    }

    let columns: [Column]
    private(set) var rows: [[String]] = []

    init(_ columns: [Column]) { self.columns = columns }

    mutating func add(_ cells: [String]) { rows.append(cells) }

    /// The heading and every row, without blanks at the ends of lines.
    var lines: [String] {
        let all = [columns.map(\.title)] + rows
        let widths = columns.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { cells in
            var line = ""
            for (index, cell) in cells.enumerated() {
                let blank = String(repeating: " ", count: widths[index] - cell.count)
                line += (index > 0 ? "  " : "") + (columns[index].isNumber ? blank + cell : cell + blank)
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}

/// A number of bytes as people read it: `12.3 MiB`.
func readableBytes(_ count: Int) -> String {
    var (value, unit) = (Double(count), "B")
    for larger in ["KiB", "MiB", "GiB", "TiB"] where value >= 1024 { (value, unit) = (value / 1024, larger) }
    return unit == "B" ? "\(count) B" : "\(rounded(value, digits: value < 10 ? 2 : 1)) \(unit)"
}

/// Seconds as microseconds.
func microseconds(_ seconds: Double) -> String { rounded(seconds * 1e6, digits: 1) }

/// Seconds as milliseconds.
func milliseconds(_ seconds: Double) -> String { rounded(seconds * 1e3, digits: 3) }
