import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct NCNNTests {
  /// Networks that the ncnn package loads, and descriptions broken in one way each.
  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["ncnn/"]))
  func readsNetworks(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test(arguments: [
    ("unknown_blob", "line 4: 'conv' takes 'dat', which no layer before it makes"),
    ("blob_twice", "line 4: 'data' is made twice"),
    ("name_twice", "line 4: two layers have the name 'image'"),
    ("too_few_layers", "the description ends after 2 layers of 3"),
    ("too_many_layers", "line 4: there are more layers than the 1 of line 2"),
    ("no_counts", "the description ends after 0 layers"),
    ("key_twice", "line 4: the parameter 0 is given twice"),
    ("no_value", "line 4: '1=' has no number"),
    ("bad_utf8", "the description is not valid UTF-8"),
  ])
  func namesLineOfProblem(file: String, problem: String) throws {
    let path = try PackageFolder.fixture("ncnn/\(file).param")
    #expect(throws: ModelError.malformed(problem, path: path)) {
      try FormatRegistry.standard.open(path)
    }
  }

  @Test func remarksTellWhatIsNotAsInFile() throws {
    func notes(_ name: String) throws -> [String] {
      try FormatRegistry.standard.open(PackageFolder.fixture("ncnn/\(name).param")).notes
    }
    #expect(
      try notes("convolutions")
        == ["2 weights in int8, read as the values that the codes stand for"])
    #expect(try notes("custom") == ["layers of unknown types, without weights: 'MyLayer'"])
    #expect(try notes("small") == [])
  }

  @Test func weightsOfUnknownLayersAreRefused() throws {
    let path = try PackageFolder.fixture("ncnn/unknown_layout.param")
    #expect(
      throws: ModelError.unsupported(
        "the weights of layers of the type 'Unheard' are not known, so those after them cannot be "
          + "found", path: path.replacing(/\.param$/, with: ".bin"))
    ) { try FormatRegistry.standard.open(path) }
  }

  @Test func weightsMustFitDescription() throws {
    let description = try Data(
      contentsOf: URL(filePath: PackageFolder.fixture("ncnn/convolutions.param")))
    let weights = try Data(
      contentsOf: URL(filePath: PackageFolder.fixture("ncnn/convolutions.bin")))
    try withTemporaryFolder { folder in
      let path = folder.appending("net.param")
      let other = folder.appending("net.bin")
      try description.write(to: URL(filePath: path))
      #expect(
        throws: ModelError.unsupported(
          "the weights, 'net.bin', are not beside the description", path: path)
      ) { try FormatRegistry.standard.open(path) }
      // Within a weight, within a tag and before one.
      for count in stride(from: 0, to: weights.count, by: 3) {
        try writeUnsynced([UInt8](weights.prefix(count)), to: other)
        let error = #expect(throws: ModelError.self) { try FormatRegistry.standard.open(path) }
        #expect(error?.path == other)
      }
      try writeUnsynced([UInt8](weights) + [1], to: other)
      let error = #expect(throws: ModelError.self) { try FormatRegistry.standard.open(path) }
      #expect(error?.path == other)
      // Any bytes are weights.
      for index in stride(from: 0, to: weights.count, by: 7) {
        var changed = [UInt8](weights)
        changed[index] ^= 0xFF
        try writeUnsynced(changed, to: other)
        do {
          let archive = try FormatRegistry.standard.open(path)
          for tensor in archive.tensors.values { _ = try tensor.bytes() }
        } catch is ModelError {}
      }
    }
  }

  /// The description stands for its weights; beside another model, both are named.
  @Test func folderOfOneNetworkIsRead() throws {
    try withTemporaryFolder { folder in
      for part in ["param", "bin"] {
        try FileManager.default.copyItem(
          atPath: PackageFolder.fixture("ncnn/small.\(part)"), toPath: folder.appending("a.\(part)")
        )
      }
      #expect(try FormatRegistry.standard.open(folder.path).tensors.keys == ["conv.weight"])
      try FileManager.default.copyItem(
        atPath: PackageFolder.fixture("ncnn/small.param"), toPath: folder.appending("b.param"))
      #expect(
        throws: ModelError.unsupported(
          "the folder holds several model files; name one of 'a.param', 'b.param'",
          path: folder.path)
      ) { try FormatRegistry.standard.open(folder.path) }
    }
  }

  @Test func writtenDescriptionIsReadAgain() throws {
    for name in ["convolutions", "others", "small"] {
      let path = try PackageFolder.fixture("ncnn/\(name).param")
      let text = try String(contentsOfFile: path, encoding: .utf8)
      let description = try NCNNDescription(parsing: text)
      #expect(try NCNNDescription(parsing: description.text) == description)
    }
  }
}
