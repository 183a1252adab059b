import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import Storage

@Suite struct BenchmarkSetTests {
  /// Calls `body` with a folder that holds empty files of these names.
  private func withFiles(_ names: [String], _ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      for name in names {
        let url = URL(filePath: folder.appending(name))
        try FileManager.default.createDirectory(
          at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data().write(to: url)
      }
      try body(folder.path)
    }
  }

  @Test func namesSortInNaturalOrder() {
    let names = ["b", "a10", "a2", "a02", "img_100_x", "img_9_y", "a", "Z", "10", "9", "a2b"]
    #expect(
      names.sorted { NaturalOrder($0) < NaturalOrder($1) }
        == ["9", "10", "Z", "a", "a02", "a2", "a2b", "a10", "b", "img_9_y", "img_100_x"])
  }

  @Test func highResolutionImagesPairWithLowResolutionFolder() throws {
    try withFiles([
      "HR/b10.png", "HR/b9.png", "HR/notes.txt", "HR/.hidden.png", "LR_bicubic/X2/b9x2.png",
      "LR_bicubic/X2/b10.png",
    ]) { folder in
      let set = try BenchmarkSet(folder: folder, scale: 2)
      #expect(set.entries.map(\.name) == ["b9", "b10"])
      #expect(set.lowResolutionFolder == "LR_bicubic/X2")
      #expect(
        set.entries.map(\.lowResolutionPath) == [
          "\(folder)/LR_bicubic/X2/b9x2.png", "\(folder)/LR_bicubic/X2/b10.png",
        ])
      #expect(
        throws: ModelError(
          "there is no folder 'LR_bicubic/X3' for scale 3, though there is 'LR_bicubic'",
          path: folder)
      ) { try BenchmarkSet(folder: folder, scale: 3) }
    }
  }

  @Test(arguments: [["HR/a.png", "HR/b.jpg"], ["a.png", "b.jpg"]])
  func highResolutionImagesMayStandAlone(_ files: [String]) throws {
    try withFiles(files) { folder in
      let set = try BenchmarkSet(folder: folder, scale: 4)
      #expect(set.entries.map(\.name) == ["a", "b"])
      #expect(set.entries.allSatisfy { $0.lowResolutionPath == nil })
      #expect(set.lowResolutionFolder == nil)
    }
  }

  @Test func pairsMayShareOneFolder() throws {
    try withFiles(["img_2_HR.png", "img_2_LR.png", "img_1_HR.png", "img_1_LR.jpg"]) { folder in
      let set = try BenchmarkSet(folder: folder, scale: 2)
      #expect(set.entries.map(\.name) == ["img_1", "img_2"])
      #expect(
        set.entries.map(\.lowResolutionPath)
          == ["img_1_LR.jpg", "img_2_LR.png"].map { "\(folder)/\($0)" })
    }
  }

  /// Degraded images have the names of the references, whose own low-resolution images do not count.
  @Test(arguments: [["HR/a.png", "HR/b.png", "LR_bicubic/X2/ax2.png"], ["a.png", "b.png"]])
  func degradedImagesComeFromAnotherFolder(_ files: [String]) throws {
    let places = { (folder: String, name: String) in "\(folder)/noisy/\(name)" }
    try withFiles(files + ["noisy/b.jpg", "noisy/a.webp"]) { folder in
      let set = try BenchmarkSet(folder: folder, scale: 1, degradedFolder: "\(folder)/noisy")
      #expect(set.entries.map(\.name) == ["a", "b"])
      #expect(
        set.entries.map(\.lowResolutionPath) == [places(folder, "a.webp"), places(folder, "b.jpg")])
    }
    try withFiles(files + ["noisy/a.png"]) { folder in
      let path = files[1]
      #expect(
        throws: ModelError(
          "its partner 'b.png' is missing in \(folder)/noisy", path: "\(folder)/\(path)")
      ) { try BenchmarkSet(folder: folder, scale: 1, degradedFolder: "\(folder)/noisy") }
    }
    try withFiles(files + ["noisy/a.png", "noisy/b.png", "noisy/c.png"]) { folder in
      let references = files[0].hasPrefix("HR") ? "\(folder)/HR" : folder
      #expect(
        throws: ModelError(
          "there is no high-resolution image for it in '\(references)'",
          path: places(folder, "c.png"))
      ) { try BenchmarkSet(folder: folder, scale: 1, degradedFolder: "\(folder)/noisy") }
    }
  }

  @Test(arguments: [
    (["HR/a.png", "LR_bicubic/X2/b.png"], "HR/a.png", "its partner 'ax2.png' is missing"),
    (
      ["HR/a.png", "LR_bicubic/X2/ax2.png", "LR_bicubic/X2/c.png"], "LR_bicubic/X2/c.png",
      "there is no high-resolution image for it in 'HR'"
    ),
    (["a_HR.png"], "a_HR.png", "its partner 'a_LR' is missing"),
    (["a_LR.png"], "a_LR.png", "its partner 'a_HR' is missing"),
    (
      ["a_HR.png", "a_LR.png", "b.png"], "b.png",
      "it is neither named '…_HR' nor '…_LR', as others here are"
    ),
    (["a.png", "a.k.png", "a.jpg"], "a.png", "there is another image of that name"),
    (["HR/a.txt"], "HR", "there is no PNG, JPEG or WebP file in it"),
    (["a.txt"], "", "there is neither a folder 'HR' nor a PNG, JPEG or WebP file in it"),
  ])
  func inconsistentSetsAreRefused(files: [String], place: String, reason: String) throws {
    try withFiles(files) { folder in
      let error = try #require(
        #expect(throws: ModelError.self) { try BenchmarkSet(folder: folder, scale: 2) })
      #expect("\(error.problem)".hasPrefix(reason), "\(error)")
      #expect(error.path == (place.isEmpty ? folder : "\(folder)/\(place)"))
    }
  }

  @Test func missingFolderIsAnError() {
    #expect(throws: ModelError("there is no such folder", path: "/nowhere/Set5")) {
      try BenchmarkSet(folder: "/nowhere/Set5", scale: 2)
    }
  }
}
