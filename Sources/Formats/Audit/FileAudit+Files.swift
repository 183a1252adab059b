import Storage

extension FileAudit {
  /// A file or a member of an archive, with its context.
  struct Content {
    let file: InputFile
    let bytes: SharedBytes
    /// The offset of the bytes in the audited file, if it is known.
    var baseOffset = 0
    let place: String
    let depth: Int
    /// The archive that contains it; `nil` for a file by itself.
    var archive: ArchiveKind?

    /// Creates content from a member of an archive, or from bytes found inside something else.
    init(
      _ bytes: SharedBytes, baseOffset: Int = 0, place: String, depth: Int,
      in archive: ArchiveKind = ArchiveKind()
    ) {
      file = InputFile(bytes, path: place)
      self.bytes = bytes
      self.baseOffset = baseOffset
      self.place = place
      self.depth = depth
      self.archive = archive
    }

    /// Creates content from a whole file.
    ///
    /// - Throws: `ModelError` when the file cannot be read.
    init(_ file: InputFile, place: String, depth: Int) throws {
      self.file = file
      bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "the file")
      self.place = place
      self.depth = depth
    }
  }

  /// The kind of an archive, as far as it decides what the members are.
  struct ArchiveKind {
    /// The prefix of the names of the TorchScript program's members.
    var scriptFolder: String?
    /// Whether it is a torch.package archive, whose Python modules run.
    var isPackage = false
  }

  /// The signatures of a local header and of the end of an archive without members.
  private static let zipSignatures: [[UInt8]] = [[0x50, 0x4B, 3, 4], [0x50, 0x4B, 5, 6]]

  static func isZip(_ bytes: SharedBytes) -> Bool {
    bytes.count >= 4 && zipSignatures.contains(bytes.slice(0..<4).array)
  }

  mutating func audit(_ file: InputFile, place: String = "", depth: Int = 0) {
    do {
      audit(try Content(file, place: place, depth: depth))
    } catch {
      addProblem(error, place: place)
    }
  }

  /// Audits one file or member of any kind.
  mutating func audit(_ content: Content) {
    let (bytes, place) = (content.bytes, content.place)
    guard content.depth <= Self.depthLimit else {
      addProblem("archives are nested more than \(Self.depthLimit) deep", place: place)
      return
    }
    if bytes.isEmpty {
      if content.archive == nil { addUnrecognized(content) }
    } else if Self.isZip(bytes) {
      auditZip(content)
    } else if let block = Self.tarHeader(of: bytes), TarDirectory.isHeader(block) {
      auditTar(content)
    } else if bytes.count >= 6, bytes.slice(0..<6).array == NPYHeader.magic {
      auditArray(
        bytes, baseOffset: content.baseOffset, place: place, depth: content.depth)
    } else if PyTorchLegacyStream.isBeginning(bytes) {
      auditStream(bytes, baseOffset: content.baseOffset, place: place, depth: content.depth)
    } else if content.archive == nil, ShardIndex.isRecognized(content.file) {
      auditShards(of: content)
    } else if let format = Self.formatWithoutCode(of: content.file) {
      auditFormat(format, content)
    } else if let signature = FileSignature(of: content.file), signature.nature != .other {
      auditClosed(content, signature)
    } else if isPickle(content) {
      if content.archive == nil, FileSignature.misleading(content.file) == .joblib {
        addUnrecognized(content)
      }
      auditPickles(
        bytes, baseOffset: content.baseOffset, place: place, depth: content.depth,
        archive: content.archive ?? ArchiveKind())
    } else if let text = TextContent(bytes, name: place.isEmpty ? content.file.path : place) {
      auditText(text, content)
    } else {
      auditUnknown(content)
    }
  }

  private static func tarHeader(of bytes: SharedBytes) -> [UInt8]? {
    bytes.count >= 512 ? bytes.slice(0..<512).array : nil
  }

  /// Returns the format that recognizes the file, among those that hold only numbers and text.
  private static func formatWithoutCode(of file: InputFile) -> (any ModelFormat)? {
    FormatRegistry.standard.formats.first { $0.isFreeOfCode && $0.recognizes(file) }
  }

  /// Audits a file of such a format, which is clean if it is whole and gives a program nothing to
  /// run.
  ///
  /// Tensors of types that cannot be decoded still count as numbers.
  private mutating func auditFormat(_ format: any ModelFormat, _ content: Content) {
    do {
      if format is ONNXFormat { try auditGraph(content) }
      let archive = try format.read(content.file)
      auditTemplates(of: archive, place: content.place)
      for tensor in archive.tensors.values where tensor.unreadableType == nil {
        _ = try tensor.bytes()
      }
    } catch {
      addProblem(error, place: content.place)
    }
  }

  /// Whether the content is a pickle: by its name, by its first opcode, or by what it does.
  private func isPickle(_ content: Content) -> Bool {
    let name = content.place.isEmpty ? content.file.path : content.place
    if Self.isNamedPickle(name) { return true }
    let head = content.bytes.slice(0..<min(2, content.bytes.count)).array
    if head.count == 2, head[0] == PickleOpcode.proto.rawValue, head[1] <= 5 { return true }
    var reader = ByteReader(content.bytes)
    let record = PickleMachine.record(from: &reader)
    // A file by itself that begins with a pickle is a pickle, whatever follows.
    if record.problem == nil, content.archive == nil { return true }
    let isText = !record.events.isEmpty && TextContent(content.bytes) != nil
    if record.isEvidence(isWhole: reader.isAtEnd, isText: isText) { return true }
    // Pickles that follow one another to the end.
    var problem = record.problem
    for _ in 0..<Self.pickleLimit {
      guard problem == nil else { return false }
      if Self.isBlank(content.bytes.slice(reader.offset..<content.bytes.count)) { return true }
      problem = PickleMachine.record(from: &reader).problem
    }
    return false
  }

  private static func isNamedPickle(_ place: String) -> Bool {
    let name = place.lowercased()
    return [".pkl", ".pickle", ".pck", ".p", ".dill", ".joblib"].contains { name.hasSuffix($0) }
  }

  /// Audits the shards of an index, which holds no code itself.
  private mutating func auditShards(of content: Content) {
    guard content.depth == 0 else {
      addProblem("an index of shards is itself a shard or an entry", place: content.place)
      return
    }
    do {
      let siblings = SiblingFiles(beside: content.file)
      for name in Set(try ShardIndex(reading: content.file).weightMap.values).sortedByBytes() {
        do {
          audit(
            try siblings.open(name), place: Self.join(content.place, name),
            depth: content.depth + 1)
        } catch {
          addProblem(error, place: Self.join(content.place, name))
        }
      }
    } catch {
      addProblem(error, place: content.place)
    }
  }

  // MARK: Opaque content

  /// Audits compressed data, archives of other kinds, and programs.
  private mutating func auditClosed(_ content: Content, _ signature: FileSignature) {
    if signature.nature == .program {
      addProgram(
        .library, place: content.place, .dangerous,
        "\(signature.name), which runs when it is loaded")
      return
    }
    addProblem("it is \(signature.name), which is not vouched for", place: content.place)
    let head = content.bytes.slice(0..<2).array
    let wrapping: Zlib.Wrapping = head == [0x1F, 0x8B] ? .gzip : .zlib
    guard wrapping == .gzip || head[0] & 0x8F == 0x08 else { return }
    let inflated = Zlib.inflateWhatCanBe(content.bytes, in: wrapping, limit: Self.salvageLimit)
    guard !inflated.isEmpty else { return }
    audit(
      Content(
        inflated, place: Self.join(content.place, "decompressed"), depth: content.depth + 1))
  }

  /// Audits content of no known kind, which may hide a pickle behind padding or be a damaged
  /// archive.
  private mutating func auditUnknown(_ content: Content) {
    addUnrecognized(content)
    auditHDF5(content)
    let padding = content.bytes.withUnsafeBytes { buffer in
      buffer.firstIndex { ![0x00, 0x20, 0xFF].contains($0) } ?? buffer.count
    }
    if padding > 0 {
      salvage(
        content.bytes.slice(padding..<content.bytes.count),
        baseOffset: content.baseOffset + padding, place: content.place, depth: content.depth)
    }
    salvageZip(content.bytes, place: content.place, depth: content.depth)
  }

  /// Reports a problem that names the kind of content, which cannot be audited.
  mutating func addUnrecognized(_ content: Content) {
    guard content.archive != nil else {
      addProblem(
        ModelError(.unrecognizedFormat(found: FileSignature.describe(content.file))),
        place: content.place)
      return
    }
    let name = FileSignature(of: content.file)?.name
    addProblem(
      name.map { "it is \($0), which is not examined" }
        ?? "its content is of no known kind, so nothing is vouched for", place: content.place)
  }

  // MARK: Zip

  private mutating func auditZip(_ content: Content) {
    let place = content.place
    let zip: ZipArchive
    do {
      zip = try ZipArchive(content.file)
    } catch {
      if content.archive == nil, FileSignature.misleading(content.file) != nil {
        addUnrecognized(content)
      } else {
        addProblem(error, place: place)
      }
      salvageZip(content.bytes, place: place, depth: content.depth)
      return
    }
    let outer = (storageByteCounts, plainMembers)
    (storageByteCounts, plainMembers) = ([:], [])
    defer { (storageByteCounts, plainMembers) = outer }

    var kind = ArchiveKind()
    kind.isPackage = zip.entries.contains { $0.name.hasSuffix("/.data/extern_modules") }
    if let script = zip.entries.first(where: {
      $0.name.hasSuffix("/constants.pkl") || $0.name.contains("/code/")
    }) {
      kind.scriptFolder = String(script.name.prefix { $0 != "/" }) + "/code/"
      addNote("it holds a TorchScript program, which torch runs in an interpreter of its own")
    }
    if kind.isPackage {
      addNote("it is a torch.package archive, whose Python modules run when an object is loaded")
    }
    // The pickles and indexes of the archive declare which members are numbers, so they come first.
    let entries = zip.entries.filter { !$0.name.hasSuffix("/") || $0.byteCount > 0 }
    let numbers = entries.filter { Self.mayBeNumbers($0.name, in: zip) }
    let numberIndices = Set(numbers.map(\.index))
    for entry in entries where !numberIndices.contains(entry.index) {
      auditEntry(entry, of: zip, content, kind, isNumbers: false)
    }
    for entry in numbers {
      auditEntry(
        entry, of: zip, content, kind, isNumbers: isNumbers(entry, Self.join(place, entry.name)))
    }
  }

  private mutating func auditEntry(
    _ entry: ZipArchive.Entry, of zip: ZipArchive, _ content: Content, _ kind: ArchiveKind,
    isNumbers: Bool
  ) {
    let inner = Self.join(content.place, entry.name)
    do {
      let bytes = try zip.bytes(of: entry)
      guard !isNumbers else { return }
      audit(
        Content(
          bytes, baseOffset: entry.method == .stored ? entry.dataOffset : 0, place: inner,
          depth: content.depth + 1, in: kind))
    } catch {
      addProblem(
        (error as? ModelError)?.located(offset: entry.dataOffset) ?? error, place: inner)
      if let bytes = try? zip.file.bytes(
        at: entry.dataOffset, count: entry.compressedByteCount, purpose: "a zip entry")
      {
        let raw =
          entry.method == .stored
          ? bytes : Zlib.inflateWhatCanBe(bytes, limit: Self.salvageLimit)
        salvage(raw, baseOffset: entry.dataOffset, place: inner, depth: content.depth + 1)
      }
    }
  }

  /// Whether a member is named like a storage: `data/17` beside `data.pkl`, likewise for
  /// TorchScript's constants, `.data/17.storage` of torch.package, `data/weights/weight_17` of
  /// torch.export.
  private static func mayBeNumbers(_ name: String, in zip: ZipArchive) -> Bool {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count >= 2, let last = parts.last else { return false }
    let folder = parts.dropLast().joined(separator: "/")
    switch parts[parts.count - 2] {
    case "data", "constants":
      if zip.entry(named: "\(folder).pkl") != nil { return true }
    case ".data": return last.hasSuffix(".storage")
    default: break
    }
    return folder.hasSuffix("data/weights") && last.hasPrefix("weight_")
      || folder.hasSuffix("data/constants") && last.hasPrefix("tensor_")
  }

  /// Whether the archive declares the member to be plain numbers, of the byte count that it has.
  private func isNumbers(_ entry: ZipArchive.Entry, _ place: String) -> Bool {
    if plainMembers.contains(place) { return true }
    let last = entry.name.split(separator: "/").last ?? ""
    let key = String(last.hasSuffix(".storage") ? last.dropLast(".storage".count) : last)
    guard let byteCounts = storageByteCounts[key] else { return false }
    return byteCounts.contains(entry.byteCount) || byteCounts.contains(nil)
  }

  /// Records the storages that a pickle of the current archive names.
  mutating func collectStorages(of graph: PickleGraph) {
    for (reference, node) in graph.nodes.enumerated() {
      guard case .persistent = node,
        let identifier = try? PyTorchStorageIdentifier(reference, in: graph)
      else { continue }
      storageByteCounts[identifier.key, default: []].insert(try? identifier.byteCount())
    }
  }

  /// The most bytes inflated from content that is not vouched for.
  static let salvageLimit = 1 << 26

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

  /// Looks for pickles in content that is not whole: a find counts, the absence of one proves
  /// nothing.
  private mutating func salvage(
    _ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int
  ) {
    var reader = ByteReader(bytes, baseOffset: baseOffset)
    let record = PickleMachine.record(from: &reader)
    guard record.isEvidence(isWhole: reader.isAtEnd, isText: false) else { return }
    add(Pickle(place: place, events: record.events, problem: record.problem?.problem.description))
    auditNested(record, place: place, depth: depth)
  }

  // MARK: NumPy

  /// Audits a NumPy array: an array of objects is a pickle behind a header; any other holds numbers
  /// or text, whether or not they can be decoded.
  mutating func auditArray(_ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int) {
    if let start = NPYHeader.objectsOffset(in: bytes) {
      addNote("it holds NumPy arrays of objects, which are pickles")
      auditPickles(
        bytes.slice(start..<bytes.count), baseOffset: baseOffset + start, place: place, depth: depth
      )
      return
    }
    do {
      _ = try NPYHeader(byteCount: bytes.count) { offset, count, purpose in
        var reader = ByteReader(bytes)
        try reader.seek(to: offset)
        return try reader.read(count, for: purpose)
      }
    } catch {
      // Dates and structures count as numbers.
      if case .unsupported? = (error as? ModelError)?.problem, NPYHeader.isPlain(bytes) { return }
      addProblem(error, place: place)
    }
  }

  // MARK: Tar

  private mutating func auditTar(_ content: Content) {
    let (bytes, place) = (content.bytes, content.place)
    let directory: TarDirectory
    do {
      directory = try TarDirectory(byteCount: bytes.count) { offset, count, _ in
        bytes.slice(offset..<offset + count)
      }
    } catch {
      addProblem(error, place: place)
      return
    }
    let isCheckpoint = PyTorchTarCheckpoint.memberNames.isSubset(of: directory.members.map(\.name))
    if isCheckpoint { auditTarCheckpoint(directory, content) }
    for member in directory.members
    where !(isCheckpoint && PyTorchTarCheckpoint.memberNames.contains(member.name)) {
      audit(
        Content(
          bytes.slice(member.range), baseOffset: content.baseOffset + member.range.lowerBound,
          place: Self.join(place, member.name), depth: content.depth + 1))
    }
    let rest = bytes.slice(directory.endOffset..<bytes.count)
    if rest.withUnsafeBytes({ $0.contains { $0 != 0 } }) {
      addProblem(
        "bytes follow the end of the tar archive", place: place, offset: directory.endOffset)
    }
  }

  private mutating func auditTarCheckpoint(_ directory: TarDirectory, _ content: Content) {
    let (bytes, place) = (content.bytes, content.place)
    var found: [Pickle] = []
    var nested: [(PickleRecord, String)] = []
    do {
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
    for (record, place) in nested { auditNested(record, place: place, depth: content.depth + 1) }
  }
}
