import Foundation
import TestSupport
import Testing

/// The HTML report in a real browser.
@Suite(.enabled(if: Browser.path != nil, "needs chromium")) struct ReportPageTests {
  /// Returns the browser's document for the report at `fragment` after its script has run.
  private func page(fragment: String, _ arguments: String...) throws -> String {
    try withTemporaryFolder { folder in
      let outcome = try BuiltProgram().run(
        ["inspect", CommandLine.checkpoint, "--format", "html"] + arguments)
      let path = folder.appending("report.html")
      try Data(outcome.standardOutput.utf8).write(to: URL(filePath: path))
      return try Browser.dump("file://\(path)#\(fragment)", in: folder)
    }
  }

  private func shownNames(in page: String) throws -> [String] {
    let rest = try #require(page.split(separator: "class=\"rows\"").dropFirst().first)
    let body = try #require(rest.split(separator: "</table>").first)
    return body.split(separator: "<tr>").dropFirst(2).map { row in
      let cell = row.split(separator: "</td>").first ?? ""
      return String(cell).replacing(/<small>.*?<\/small>/, with: "").replacing(/<[^>]*>/, with: "")
    }
  }

  @Test func reportSortsAndFiltersRows() throws {
    let page = try page(fragment: "filter=*.proj.weight&sort=conditionNumber")
    let names = try shownNames(in: page)
    #expect(names.count == 24)
    #expect(names.first == "params.layers.2.residual_group.blocks.0.attn.proj.weight")
    #expect(page.contains("24 of 354"))
    #expect(page.contains("aria-sort=\"descending\""))
    let reversed = try self.page(
      fragment: "filter=attn.PROJ.w&sort=conditionNumber&order=ascending")
    #expect(try shownNames(in: reversed) == names.reversed())
  }

  @Test func reportInitiallyShowsEveryLayer() throws {
    let page = try page(fragment: "", "--split-qkv")
    #expect(try shownNames(in: page).count == 402)
    #expect(page.contains("Condition number by depth"))
    #expect(page.contains("<circle"))
    #expect(page.contains("Size by kind"))
  }
}

/// Headless Chromium.
enum Browser {
  static let path = ["chromium", "chromium-browser", "google-chrome"].flatMap { name in
    ["/usr/bin/\(name)", "/usr/local/bin/\(name)"]
  }.first { FileManager.default.isExecutableFile(atPath: $0) }

  /// Returns the document at `address` after its scripts have run.
  static func dump(_ address: String, in folder: TemporaryFolder) throws -> String {
    let outcome = try BuiltProgram(path: try #require(path)).run([
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
      "--user-data-dir=\(folder.appending("profile"))", "--virtual-time-budget=20000", "--dump-dom",
      address,
    ])
    #expect(outcome.exitCode == 0, "\(outcome.standardError)")
    return outcome.standardOutput
  }
}
