"""The ends that reading a document can have, other than a Document."""

from typing import ClassVar

from agora.errors import AgoraError


class DocumentError(AgoraError):
    """The document cannot be read."""

    slug: ClassVar[str] = "document"

    @property
    def code(self) -> str:
        """The slug: what a failed job says."""
        return self.slug


class DocumentEmpty(DocumentError):
    """The document has no text."""

    slug = "document-empty"


class DocumentBinary(DocumentError):
    """The document is of a kind that is not read."""

    slug = "document-binary"


class DocumentEncrypted(DocumentError):
    """The document is encrypted."""

    slug = "document-encrypted"


class DocumentTooLong(DocumentError):
    """The document is too long."""

    slug = "document-too-long"


class DocumentLanguage(DocumentError):
    """The document is not in English."""

    slug = "document-language"


class DocumentCorrupt(DocumentError):
    """The document is damaged."""

    slug = "document-corrupt"
