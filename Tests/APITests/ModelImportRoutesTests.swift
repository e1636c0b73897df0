import Foundation
import HTTP
import JSON
import Testing

@Suite("Importing a model") struct ModelImportRoutesTests {
    @Test("is answered with the model, which has the name that was asked for, or its id")
    func takes() throws {
        let stage = try Backstage()
        let made = try stage.answer(.post, "/v1/models?name=elsewhere", bytes: [1, 2, 3])
        #expect(made.status == 201 && made.json["name"] == "elsewhere" && made.json["bytes"] == 3)
        #expect(made.json["lineage"] == ["imported": true, "imported_by": "owner"])
        let path = try #require(made["Location"])
        #expect(try stage.answer(.get, path).json["id"] == made.json["id"])
        let other = try stage.answer(.post, "/v1/models", bytes: [1])
        #expect(other.json["name"] == other.json["id"])
        #expect(try stage.answer(.get, "/v1/models").json["data"]?.arrayValue?.count == 2)
    }

    @Test("is refused by stable codes")
    func refuses() throws {
        let stage = try Backstage()
        #expect(try stage.answer(.post, "/v1/models", bytes: []).json["errors"]?[0]?["pointer"] == "")
        #expect(try stage.answer(.post, "/v1/models?nam=x", bytes: [1]).status == 422)
        let long = String(repeating: "n", count: 201)
        #expect(try stage.answer(.post, "/v1/models?name=\(long)", bytes: [1]).status == 422)
        let digest = "sha-256=:\(String(repeating: "A", count: 43))=:"
        let other = try stage.answer(.post, "/v1/models", headers: ["Content-Digest": digest], bytes: [1])
        #expect(other.status == 422 && other.code == "digest_mismatch")
        let vast = try stage.answer(
            .post, "/v1/models", headers: ["Content-Length": "999"], bytes: [1])
        #expect(vast.code == "insufficient_storage")
    }
}
