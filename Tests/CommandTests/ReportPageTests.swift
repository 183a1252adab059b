import Formats
import Foundation
import Storage
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
    return body.split(separator: "<tr").dropFirst(2).map { row in
      let cell = row.split(separator: "</td>").first ?? ""
      return String(cell).replacing(/^[^>]*>/, with: "")
        .replacing(/<small>.*?<\/small>/, with: "").replacing(/<[^>]*>/, with: "")
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
    try run("--dump-dom", address, in: folder)
  }

  /// Prints the page at `address` as a PDF file.
  static func print(_ address: String, to path: String, in folder: TemporaryFolder) throws {
    _ = try run("--print-to-pdf=\(path)", address, in: folder)
  }

  private static func run(
    _ task: String, _ address: String, in folder: TemporaryFolder
  ) throws -> String {
    let outcome = try BuiltProgram(path: try #require(path)).run([
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
      "--user-data-dir=\(folder.appending("profile"))", "--virtual-time-budget=20000", task,
      address,
    ])
    #expect(outcome.exitCode == 0, "\(outcome.standardError)")
    return outcome.standardOutput
  }
}

/// Pages with many rows, which a script makes as they are scrolled to.
@Suite(.enabled(if: Browser.path != nil, "needs chromium")) struct LongReportPageTests {
  /// Returns the path of a page about ten thousand tensors, half of them matrices.
  private func page(in folder: TemporaryFolder, count: Int) throws -> String {
    var archive = TensorArchive()
    for index in 0..<count / 2 {
      let values = (0..<16).map { Float(sin(Double(index * 16 + $0) * 1.7)) }
      archive.tensors["model.layers.\(index).mlp.down_proj.weight"] = try Tensor(
        elementType: .float32, shape: [4, 4], bytes: SharedBytes(elementsOf: values))
      archive.tensors["model.layers.\(index).mlp.down_proj.bias"] = try Tensor(
        elementType: .float32, shape: [4], bytes: SharedBytes(elementsOf: [Float](values[..<4])))
    }
    let model = folder.appending("\(count).safetensors")
    let path = folder.appending("\(count).html")
    try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: model)
    let outcome = try CommandLine.succeed("inspect", model, "--format", "html")
    try Data(outcome.standardOutput.utf8).write(to: URL(filePath: path))
    return path
  }

  @Test func tenThousandTensorsFitThreeMegabytes() throws {
    try withTemporaryFolder { folder in
      let path = try page(in: folder, count: 10_000)
      let size = try Data(contentsOf: URL(filePath: path)).count
      #expect(size <= 3_000_000, "\(size)")
      let shown = try Browser.dump(
        "file://\(path)#filter=*.weight&sort=conditionNumber", in: folder)
      #expect(shown.contains("5000 of 10000"))
      let rows = shown.components(separatedBy: "aria-rowindex=").count - 1
      #expect((200...2000).contains(rows), "\(rows)")
      #expect(shown.contains("aria-rowcount=\"10001\""))
    }
  }

  @Test func allRowsArePrinted() throws {
    try withTemporaryFolder { folder in
      let page = try page(in: folder, count: 1200)
      let printed = folder.appending("page.pdf")
      try Browser.print("file://\(page)", to: printed, in: folder)
      let bytes = try Data(contentsOf: URL(filePath: printed))
      let text = String(decoding: bytes, as: Unicode.ASCII.self)
      // Some twenty rows fit a page.
      #expect(text.matches(of: /\/Type ?\/Page\b/).count > 40)
    }
  }

  /// The script writes the same numbers as the program.
  @Test func scriptFormatsAsTheProgramDoes() throws {
    try withTemporaryFolder { folder in
      func cells(_ count: Int) throws -> [String] {
        let shown = try Browser.dump("file://\(page(in: folder, count: count))", in: folder)
        let row = try #require(
          shown.components(separatedBy: "<tr").first { $0.contains("layers.<wbr>10.<wbr>") })
        return row.components(separatedBy: "<td").dropFirst().filter { !$0.contains("<svg") }.map {
          $0.replacing(/^[^>]*>/, with: "").replacing(/<[^>]*>/, with: "")
            .trimmingCharacters(in: .whitespacesAndNewlines)
        }
      }
      let (written, made) = (try cells(400), try cells(600))
      #expect(written.count > 10)
      #expect(written == made)
    }
  }
}
