/// Everything in a file that Python would execute on loading it, found without executing anything.
///
/// Pickles are looked for by content, whatever the names: in the file itself, in zip and tar
/// archives and zips inside them, in NumPy object arrays, one after another in a stream, and inside
/// the texts and bytes of other pickles. Whatever cannot be read to its end, or is refused by the
/// format's reader, is a problem, and a file with a problem is never clean.
public struct FileAudit: Sendable {
  /// What the file amounts to.
  public enum Verdict: String, Codable, CaseIterable, Sendable {
    /// Read whole, and nothing but data found.
    case clean
    /// A dangerous or unknown class, function or call was found.
    case suspicious
    /// Nothing dangerous was found, but not everything could be read.
    case unreadable
  }

  /// One pickle.
  public struct Pickle: Sendable {
    /// Where it is inside the file: archive entries and positions, outermost first; empty for the
    /// file itself.
    public let place: String
    /// What loading would do, in the order of the bytes.
    public let events: [PickleEvent]
    /// Why it could not be followed to its end.
    public let problem: String?
  }

  /// Something that could not be read.
  public struct Problem: Hashable, Sendable {
    /// The file, or the member of an archive.
    public let place: String
    /// What is wrong: a lower-case sentence.
    public let message: String
    /// The byte where it was found; `nil` where none is to blame.
    public let offset: Int?
  }

  /// Every pickle that was found, pickles inside pickles too.
  public private(set) var pickles: [Pickle] = []
  /// What could not be read to its end.
  public private(set) var problems: [Problem] = []
  /// What a user should know of, such as programs that are not Python's.
  public private(set) var notes: [String] = []

  /// Zips inside zips, and pickles inside pickles, are followed this deep.
  static let depthLimit = 8
  /// A file with more pickles than this is not followed further.
  static let pickleLimit = 100_000

  /// The worst that was found.
  public var verdict: Verdict {
    var isUnknown = false
    for event in pickles.lazy.flatMap(\.events) {
      if event.verdict == .dangerous { return .suspicious }
      if event.verdict == .unknown { isUnknown = true }
    }
    // What is merely unknown may be known in the part that could not be read.
    return problems.isEmpty ? (isUnknown ? .suspicious : .clean) : .unreadable
  }

  /// Looks through `file`, which stays unread where it is no pickle and no archive of pickles.
  public init(of file: InputFile) {
    auditFile(file, place: "", depth: 0)
    if verdict == .clean { requireReadable(file) }
  }

  /// A checkpoint that the reader refuses, for its nesting for instance, is not clean.
  private mutating func requireReadable(_ file: InputFile) {
    let format = PyTorchFormat()
    guard format.recognizes(file) else { return }
    do {
      _ = try format.read(file)
    } catch {
      addProblem(error, place: "")
    }
  }

  // MARK: Collecting

  mutating func add(_ pickle: Pickle) { pickles.append(pickle) }

  mutating func addProblem(_ error: any Error, place: String) {
    let error = error as? FormatError
    let inner = error?.tensor.map {
      place.isEmpty ? $0 : place.hasSuffix($0) ? place : "\(place)/\($0)"
    }
    problems.append(
      Problem(
        place: inner ?? place, message: error?.problem.description ?? "it cannot be read",
        offset: error?.offset))
  }

  mutating func addProblem(_ message: String, place: String, offset: Int? = nil) {
    problems.append(Problem(place: place, message: message, offset: offset))
  }

  mutating func addNote(_ note: String) {
    if !notes.contains(note) { notes.append(note) }
  }

  static func join(_ place: String, _ inner: String) -> String {
    place.isEmpty ? inner : "\(place)/\(inner)"
  }
}
