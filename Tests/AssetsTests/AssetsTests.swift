import Assets
import Foundation
import Testing

@Suite("What is compiled in is what lies in the folders")
struct AssetsTests {
    static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Names, as the table writes them, of the files below one folder of the repository.
    static func files(below folder: String, as prefix: String) throws -> [String] {
        let found = try FileManager.default.subpathsOfDirectory(atPath: root.appending(path: folder).path)
        return found.filter { path in
            !path.split(separator: "/").contains { $0.hasPrefix(".") } && path.contains(".")
        }.map { "\(prefix)/\($0)" }.sorted()
    }

    @Test("every file of Public/ has its row, with its bytes")
    func publicIsComplete() throws {
        let names = try Self.files(below: "Public", as: "public")
        #expect(names.contains("public/index.html"))
        for name in names {
            let asset = try #require(Assets.named(name), "no row for \(name) in Sources/CAssets/assets.c")
            let path = Self.root.appending(path: "Public").appending(path: String(name.dropFirst(7)))
            #expect(asset.bytes == Array(try Data(contentsOf: path)), "\(name) is out of date")
        }
        let rows = Assets.all.map(\.name).filter { $0.hasPrefix("public/") }
        #expect(rows.filter { !$0.hasPrefix("public/vendor/") }.sorted() == names)
    }

    @Test("every migration has its row, in order, with its text")
    func migrationsAreComplete() throws {
        let names = try Self.files(below: "migrations", as: "migrations").filter { $0.hasSuffix(".sql") }
        #expect(Assets.migrations.map { "migrations/\($0.name).sql" } == names)
        for (name, migration) in zip(names, Assets.migrations) {
            let path = Self.root.appending(path: name)
            #expect(migration.sql == (try String(contentsOf: path, encoding: .utf8)))
        }
    }

    @Test("names are unique and an unknown one gives nothing")
    func namesAreUnique() {
        #expect(Set(Assets.all.map(\.name)).count == Assets.all.count)
        #expect(Assets.named("public/no-such.html") == nil)
        #expect(Assets.named("index.html") == nil)
    }

    @Test("the charting library comes from the Debian package, whole")
    func chartingLibraryIsWhole() throws {
        let library = try #require(Assets.named("public/vendor/dygraph.min.js"))
        #expect(library.byteCount > 100_000)
        #expect(library.byteCount == library.bytes.count)
        #expect(library.text.contains("Dygraph"))
    }

    @Test("each kind of file has its media type")
    func mediaTypes() throws {
        #expect(Assets.named("public/index.html")?.contentType == "text/html; charset=utf-8")
        #expect(Assets.named("public/js/main.js")?.contentType == "text/javascript; charset=utf-8")
        #expect(Assets.named("public/css/app.css")?.contentType == "text/css; charset=utf-8")
        #expect(Assets.named("public/favicon.svg")?.contentType == "image/svg+xml")
    }

    @Test("validators are quoted, stable and differ between files")
    func validators() {
        let tags = Assets.all.map(\.etag)
        #expect(tags == Assets.all.map(\.etag))
        #expect(Set(tags).count == tags.count)
        for tag in tags { #expect(tag.hasPrefix("\"") && tag.hasSuffix("\"") && tag.count > 4) }
    }
}
