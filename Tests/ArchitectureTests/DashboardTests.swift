import Foundation
import Testing

@Suite("The dashboard keeps to its rules") struct DashboardTests {
    static let scripts = Repository.paths(below: "Public").filter { $0.hasSuffix(".js") }

    @Test("api.js alone calls fetch and opens streams", arguments: scripts)
    func onlyOneFileTalksToTheServer(path: String) throws {
        if path == "Public/js/api.js" { return }
        let words = SwiftCode(try Repository.text(path)).words.map(\.text)
        #expect(
            !words.contains("fetch") && !words.contains("EventSource") && !words.contains("XMLHttpRequest"))
    }

    @Test("text enters the page as text", arguments: scripts)
    func textEntersAsText(path: String) throws {
        let text = try Repository.text(path)
        for door in [
            "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
        ] {
            #expect(!text.contains(door), "\(path) uses \(door)")
        }
    }

    @Test("no script or style stands in the page, nothing comes from elsewhere")
    func pageHasNothingInline() throws {
        let page = try Repository.text("Public/index.html")
        #expect(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="))
        #expect(!page.contains("http://") && !page.contains("https://"))
        for script in page.components(separatedBy: "<script").dropFirst() {
            #expect(script.hasPrefix(" src=\"/"), "an inline script: \(script.prefix(40))")
        }
    }

    @Test("scripts and styles keep the limits of every file")
    func scriptsKeepTheLimits() throws {
        for path in Repository.paths(below: "Public") where path.hasSuffix(".js") || path.hasSuffix(".css") {
            let lines = try Repository.text(path).split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.count <= 400, "\(path) has \(lines.count) lines")
            for (number, line) in lines.enumerated() where line.count > 110 {
                Issue.record("\(path):\(number + 1) is \(line.count) columns wide")
            }
        }
    }
}
