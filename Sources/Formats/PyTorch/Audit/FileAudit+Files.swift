/// Files and archives.
extension FileAudit {
  private static let zipSignature: [UInt8] = [0x50, 0x4B, 0x03, 0x04]

  /// Archives and compressed data that are not opened.
  private static let closedSignatures: [(bytes: [UInt8], name: String)] = [
    ([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], "a 7-Zip archive"),
    ([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], "xz-compressed data"),
    (Array("BZh".utf8), "bzip2-compressed data"), ([0x1F, 0x8B, 0x08], "gzip-compressed data"),
    (Array("Rar!".utf8), "a RAR archive"), ([0x28, 0xB5, 0x2F, 0xFD], "zstd-compressed data"),
  ]

  /// The name of what `bytes` are when they hide their content.
  static func closedContainer(_ bytes: SharedBytes) -> String? {
    let head = bytes.slice(0..<min(6, bytes.count)).array
    return closedSignatures.first { head.starts(with: $0.bytes) }?.name
  }

  static func isZip(_ bytes: SharedBytes) -> Bool {
    bytes.count >= 4 && bytes.slice(0..<4).array == zipSignature
  }

  mutating func auditFile(_ file: InputFile, place: String, depth: Int) {
    do {
      let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "the file")
      if Self.isZip(bytes) {
        auditZip(file, bytes, place: place, depth: depth)
        return
      }
      switch PyTorchFormat.form(of: file) {
      case .tar: auditTar(bytes, place: place)
      case .stream: auditStream(bytes, baseOffset: 0, place: place, depth: depth)
      case .pickle: auditPickles(bytes, baseOffset: 0, place: place, depth: depth)
      default:
        if ShardIndex.isRecognized(file) {
          try auditShards(of: file, place: place, depth: depth)
        } else if NPYFormat().recognizes(file) {
          auditArray(bytes, baseOffset: 0, place: place, depth: depth)
        } else if let format = try? FormatRegistry.standard.format(of: file) {
          // A format without code is clean when it is whole.
          for tensor in try format.read(file).tensors.values { _ = try tensor.bytes() }
        } else {
          auditUnrecognized(file, bytes, place: place, depth: depth)
        }
      }
    } catch {
      addProblem(error, place: place)
    }
  }

  /// A file inside another.
  mutating func auditInnerFile(_ bytes: SharedBytes, place: String, depth: Int) {
    do {
      try TemporaryCopy.withFile(of: bytes) { auditFile($0, place: place, depth: depth) }
    } catch {
      addProblem(error, place: place)
    }
  }

  /// An index holds no code, but its shards may.
  private mutating func auditShards(of file: InputFile, place: String, depth: Int) throws {
    guard depth == 0 else {
      addProblem("an index of shards is itself a shard or an entry", place: place)
      return
    }
    let siblings = SiblingFiles(beside: file)
    for name in Set(try ShardIndex(reading: file).weightMap.values).sortedByBytes() {
      do {
        auditFile(try siblings.open(name), place: Self.join(place, name), depth: depth + 1)
      } catch {
        addProblem(error, place: Self.join(place, name))
      }
    }
  }

  /// A file of no known format may still begin as a pickle, or have one inside a damaged archive.
  private mutating func auditUnrecognized(
    _ file: InputFile, _ bytes: SharedBytes, place: String, depth: Int
  ) {
    var reader = ByteReader(bytes)
    let record = PickleMachine.record(from: &reader)
    guard record.problem != nil else {
      auditPickles(bytes, baseOffset: 0, place: place, depth: depth)
      return
    }
    addProblem(
      FormatError(.unrecognizedFormat(found: FileSignature.describe(file))), place: place)
    if Self.isNamedPickle(file.path) && !record.events.isEmpty || record.isEvidence(isWhole: false)
    {
      add(Pickle(place: place, events: record.events, problem: record.problem?.problem.description))
      auditNested(record, place: place, depth: depth)
    }
    salvageZip(bytes, place: place, depth: depth)
  }

  // MARK: Zip

  private mutating func auditZip(
    _ file: InputFile, _ bytes: SharedBytes, place: String, depth: Int
  ) {
    let zip: ZipArchive
    do {
      zip = try ZipArchive(file)
    } catch {
      addProblem(error, place: place)
      salvageZip(bytes, place: place, depth: depth)
      return
    }
    let isTorchScript = zip.entries.contains {
      $0.name.hasSuffix("/constants.pkl") || $0.name.contains("/code/")
    }
    if isTorchScript {
      addNote("it holds a TorchScript program, which torch runs in an interpreter of its own")
    }
    for entry in zip.entries where !entry.name.hasSuffix("/") {
      let inner = Self.join(place, entry.name)
      do {
        let content = try zip.bytes(of: entry)
        auditContent(
          content, baseOffset: entry.method == .stored ? entry.dataOffset : 0, place: inner,
          depth: depth + 1, isTorchScript: isTorchScript)
      } catch {
        addProblem(
          (error as? FormatError)?.located(offset: entry.dataOffset) ?? error, place: inner)
        if let content = try? file.bytes(
          at: entry.dataOffset, count: entry.compressedByteCount, purpose: "a zip entry")
        {
          let raw =
            entry.method == .stored
            ? content : Zlib.inflateWhatCanBe(content, limit: Self.salvageLimit)
          salvage(raw, baseOffset: entry.dataOffset, place: inner, depth: depth + 1)
        }
      }
    }
  }

  /// The most bytes inflated from an archive that breaks the format's rules.
  private static let salvageLimit = 1 << 26

  /// Follows the local headers of an archive whose directory cannot be trusted.
  private mutating func salvageZip(_ bytes: SharedBytes, place: String, depth: Int) {
    for entry in ZipSalvage.entries(of: bytes) {
      let content = bytes.slice(entry.range)
      let raw =
        entry.isDeflated ? Zlib.inflateWhatCanBe(content, limit: Self.salvageLimit) : content
      salvage(
        raw, baseOffset: entry.range.lowerBound, place: Self.join(place, entry.name),
        depth: depth + 1)
    }
  }

  /// Looks for pickles in content that is not whole: what is found counts, what is not says nothing.
  private mutating func salvage(
    _ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int
  ) {
    var reader = ByteReader(bytes, baseOffset: baseOffset)
    let record = PickleMachine.record(from: &reader)
    guard record.isEvidence(isWhole: reader.isAtEnd) else { return }
    add(Pickle(place: place, events: record.events, problem: record.problem?.problem.description))
    auditNested(record, place: place, depth: depth)
  }

  /// An entry of an archive: a pickle, an array, an archive, or data that nothing executes.
  private mutating func auditContent(
    _ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int, isTorchScript: Bool
  ) {
    guard depth <= Self.depthLimit else {
      addProblem("archives inside archives more than \(Self.depthLimit) deep", place: place)
      return
    }
    if Self.isZip(bytes) {
      auditInnerFile(bytes, place: place, depth: depth)
    } else if bytes.count >= 6, bytes.slice(0..<6).array == NPYHeader.magic {
      auditArray(bytes, baseOffset: baseOffset, place: place, depth: depth)
    } else if PyTorchLegacyStream.isBeginning(bytes) {
      auditStream(bytes, baseOffset: baseOffset, place: place, depth: depth)
    } else if let closed = Self.closedContainer(bytes), !Self.isStorage(place) {
      addProblem("it is \(closed), which is not looked into", place: place)
    } else {
      auditPossiblePickle(
        bytes, baseOffset: baseOffset, place: place, depth: depth, isTorchScript: isTorchScript)
    }
  }

  /// `data/17`: numbers, which may begin like anything.
  private static func isStorage(_ place: String) -> Bool {
    let parts = place.split(separator: "/")
    return parts.count >= 2 && ["data", "constants"].contains(parts[parts.count - 2])
      && parts[parts.count - 1].allSatisfy(\.isNumber)
  }

  private static func isNamedPickle(_ place: String) -> Bool {
    let name = place.lowercased()
    return [".pkl", ".pickle", ".pck", ".p", ".dill", ".joblib"].contains { name.hasSuffix($0) }
  }

  private mutating func auditPossiblePickle(
    _ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int, isTorchScript: Bool
  ) {
    guard !Self.isNamedPickle(place) else {
      auditPickles(
        bytes, baseOffset: baseOffset, place: place, depth: depth, isTorchScript: isTorchScript)
      return
    }
    var reader = ByteReader(bytes, baseOffset: baseOffset)
    let record = PickleMachine.record(from: &reader)
    guard record.isEvidence(isWhole: reader.isAtEnd) else { return }
    if record.problem == nil {
      auditPickles(
        bytes, baseOffset: baseOffset, place: place, depth: depth, isTorchScript: isTorchScript)
    } else {
      add(Pickle(place: place, events: record.events, problem: record.problem?.problem.description))
      auditNested(record, place: place, depth: depth)
    }
  }

  // MARK: NumPy

  /// An array of objects is a pickle behind a header.
  mutating func auditArray(_ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int) {
    do {
      _ = try NPYHeader(byteCount: bytes.count) { offset, count, purpose in
        var reader = ByteReader(bytes)
        try reader.seek(to: offset)
        return try reader.read(count, for: purpose)
      }
    } catch {
      guard let start = NPYHeader.objectsOffset(in: bytes) else {
        addProblem(error, place: place)
        return
      }
      addNote("it holds NumPy arrays of objects, which are pickles")
      auditPickles(
        bytes.slice(start..<bytes.count), baseOffset: baseOffset + start, place: place, depth: depth
      )
    }
  }

  // MARK: Tar

  private mutating func auditTar(_ bytes: SharedBytes, place: String) {
    var found: [Pickle] = []
    var nested: [(PickleRecord, String)] = []
    do {
      let directory = try TarDirectory(byteCount: bytes.count) { offset, count, _ in
        bytes.slice(offset..<offset + count)
      }
      _ = try PyTorchTarCheckpoint(
        directory,
        readingPickles: { reader, purpose in
          let record = PickleMachine.record(from: &reader)
          found.append(
            Pickle(
              place: Self.join(place, purpose), events: record.events,
              problem: record.problem?.problem.description))
          nested.append((record, Self.join(place, purpose)))
          if let problem = record.problem { throw problem }
          return record.graph
        }, load: { bytes.slice($0) })
    } catch {
      addProblem(error, place: place)
    }
    for pickle in found where !pickle.events.isEmpty || pickle.problem != nil { add(pickle) }
    for (record, place) in nested { auditNested(record, place: place, depth: 1) }
  }
}
