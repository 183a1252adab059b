import Formats
import Foundation
import Storage
import Synchronization
import TestSupport
import Testing

/// The conformance kit that every writable format passes.
@Suite struct ConformanceTests {
  /// `ReadOnlyFormatTests` has the formats that are only read.
  @Test func everyWritableFormatIsTested() {
    let names = Set(FormatSubject.all.map(\.format.identifier.name))
    #expect(names == Set(FormatRegistry.standard.writableFormats.map(\.identifier.name)))
  }

  @Test(arguments: FormatSubject.all, FormatSubject.shapes)
  func keepsEveryElementType(_ subject: FormatSubject, shape: Shape) throws {
    var archives = [TensorArchive()]
    for type in subject.elementTypes {
      guard let tensor = try FormatSubject.sampleTensor(type, shape, seed: 7) else { continue }
      if subject.isSingleTensor {
        archives.append(TensorArchive(tensors: ["": tensor]))
      } else {
        archives[0].tensors["\(type)"] = tensor
      }
    }
    if subject.isSingleTensor { archives.removeFirst() }
    try withTemporaryFolder { folder in
      for archive in archives {
        let path = try subject.write(archive, in: folder)
        for access in [InputFile.Access.mapped, .read] {
          let read = try subject.readWhole(path, access: access)
          #expect(read.format == subject.format.identifier)
          #expect(
            try read.firstDifference(from: archive, ignoringOrder: !subject.keepsOrder) == nil)
        }
      }
    }
  }

  @Test(arguments: FormatSubject.all)
  func refusesOtherElementTypes(_ subject: FormatSubject) throws {
    try withTemporaryFolder { folder in
      for type in ElementType.allCases where !subject.elementTypes.contains(type) {
        let tensor = try #require(try FormatSubject.sampleTensor(type, [2, 4], seed: 7))
        let error = #expect(throws: ModelError.self, "\(type)") {
          try subject.write(TensorArchive(tensors: ["weight": tensor]), in: folder)
        }
        #expect(error?.tensor == "weight")
        let message = error?.description ?? ""
        #expect(message.contains(type.rawValue))
      }
      #expect(try folder.names() == [], "a refused archive leaves nothing behind")
    }
  }

  @Test(arguments: FormatSubject.all)
  func keepsWholeArchive(_ subject: FormatSubject) throws {
    try withTemporaryFolder { folder in
      let archive = try subject.sampleArchive()
      let path = try subject.write(archive, in: folder)
      let read = try subject.readWhole(path)
      #expect(
        try read.firstDifference(from: archive, ignoringOrder: !subject.keepsOrder) == nil)
    }
  }

  @Test(arguments: FormatSubject.all.filter { !$0.isSingleTensor })
  func keepsAnyName(_ subject: FormatSubject) throws {
    var archive = TensorArchive()
    for (index, name) in FormatSubject.names.enumerated() {
      archive.tensors[name] = try FormatSubject.sampleTensor(
        subject.commonElementType, [index], seed: UInt64(index))
      if subject.keepsValues { archive.values["\(name) value"] = .integer(index) }
      if subject.keepsMetadata { archive.metadata[name] = name }
    }
    try withTemporaryFolder { folder in
      let read = try subject.readWhole(try subject.write(archive, in: folder))
      #expect(
        try read.firstDifference(from: archive, ignoringOrder: !subject.keepsOrder) == nil)
    }
  }

  /// A name with a NUL is either kept or refused, but never truncated.
  @Test(arguments: FormatSubject.all.filter { !$0.isSingleTensor })
  func neverTruncatesNames(_ subject: FormatSubject) throws {
    let tensor = try FormatSubject.sampleTensor(subject.commonElementType, [3], seed: 1)
    var archives = [TensorArchive(tensors: ["a\0b": try #require(tensor)])]
    if subject.keepsValues { archives.append(TensorArchive(values: ["a\0b": .integer(1)])) }
    if subject.keepsMetadata { archives.append(TensorArchive(metadata: ["a\0b": "c\0d"])) }
    try withTemporaryFolder { folder in
      for archive in archives {
        do {
          let path = try subject.write(archive, in: folder)
          #expect(try subject.readWhole(path).firstDifference(from: archive) == nil)
        } catch is ModelError {}
      }
    }
  }

  @Test(arguments: FormatSubject.all.filter(\.keepsValues))
  func keepsEveryKindOfValue(_ subject: FormatSubject) throws {
    let archive = TensorArchive(
      values: .init(uniqueKeysWithValues: FormatSubject.values.map { ($0.name, $0.value) }))
    try withTemporaryFolder { folder in
      let read = try subject.readWhole(try subject.write(archive, in: folder))
      #expect(try read.firstDifference(from: archive) == nil)
    }
  }

  @Test(arguments: FormatSubject.all.filter { !$0.isSingleTensor })
  func keepsEmptyArchive(_ subject: FormatSubject) throws {
    try withTemporaryFolder { folder in
      let path = try subject.write(TensorArchive(), in: folder)
      #expect(try subject.readWhole(path).firstDifference(from: TensorArchive()) == nil)
      #expect(subject.format.recognizes(try InputFile(path: path)))
    }
  }

  @Test(arguments: FormatSubject.all)
  func writesSameBytesTwice(_ subject: FormatSubject) throws {
    try withTemporaryFolder { folder in
      let archive = try subject.sampleArchive()
      let first = try subject.write(archive, in: folder, as: "first")
      let second = try subject.write(
        try subject.format.read(InputFile(path: first)), in: folder, as: "second")
      #expect(
        try Data(contentsOf: URL(filePath: first)) == Data(contentsOf: URL(filePath: second)))
    }
  }

  @Test(arguments: FormatSubject.all)
  func isRecognizedByNoOtherFormat(_ subject: FormatSubject) throws {
    try withTemporaryFolder { folder in
      let file = try InputFile(path: subject.write(subject.sampleArchive(), in: folder))
      let found = FormatRegistry.standard.formats.filter { $0.recognizes(file) }
      #expect(found.map(\.identifier) == [subject.format.identifier])
    }
  }

  @Test(arguments: FormatSubject.all)
  func reportsProgressOncePerTensor(_ subject: FormatSubject) throws {
    let archive = try subject.sampleArchive()
    let reported = Reports()
    try withTemporaryFolder { folder in
      try FormatRegistry.standard.write(
        archive, as: subject.format, to: folder.appending("file"),
        progress: { name, byteCount in reported.add(name, byteCount) })
    }
    #expect(reported.all == archive.tensors.map { "\($0.key): \($0.value.byteCount)" }.sorted())
  }

  @Test(arguments: FormatSubject.all)
  func refusesEveryTruncation(_ subject: FormatSubject) throws {
    try subject.checkTruncation()
  }

  @Test(arguments: FormatSubject.all, 1...4)
  func survivesMutation(_ subject: FormatSubject, seed: UInt64) throws {
    try subject.checkMutation(seed: seed << 32, count: 250)
  }
}

/// Progress reports, collected from any thread.
private final class Reports: Sendable {
  private let lines = Mutex<[String]>([])

  func add(_ name: String, _ byteCount: Int) {
    lines.withLock { $0.append("\(name): \(byteCount)") }
  }

  var all: [String] { lines.withLock { $0.sorted() } }
}
