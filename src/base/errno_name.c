/* SPDX-License-Identifier: MIT */
#include "base/errno_name.h"

#include <errno.h>
#include <stddef.h>

#define NAME(error) [error] = #error

static const char *const names[] = {
	NAME(EPERM),        NAME(ENOENT),      NAME(ESRCH),      NAME(EINTR),           NAME(EIO),
	NAME(ENXIO),        NAME(E2BIG),       NAME(EBADF),      NAME(ECHILD),          NAME(EAGAIN),
	NAME(ENOMEM),       NAME(EACCES),      NAME(EFAULT),     NAME(EBUSY),           NAME(EEXIST),
	NAME(EXDEV),        NAME(ENODEV),      NAME(ENOTDIR),    NAME(EISDIR),          NAME(EINVAL),
	NAME(ENFILE),       NAME(EMFILE),      NAME(ENOTTY),     NAME(ETXTBSY),         NAME(EFBIG),
	NAME(ENOSPC),       NAME(ESPIPE),      NAME(EROFS),      NAME(EPIPE),           NAME(EDOM),
	NAME(ERANGE),       NAME(EDEADLK),     NAME(ENOSYS),     NAME(ETIME),           NAME(EOVERFLOW),
	NAME(EBADFD),       NAME(EPROTO),      NAME(EBADMSG),    NAME(EOPNOTSUPP),      NAME(ENOBUFS),
	NAME(EALREADY),     NAME(EINPROGRESS), NAME(ESTALE),     NAME(EDQUOT),          NAME(ETIMEDOUT),
	NAME(ECONNREFUSED), NAME(ECANCELED),   NAME(EOWNERDEAD), NAME(ENOTRECOVERABLE), NAME(EHWPOISON),
};

const char *errno_name(int error)
{
	return error > 0 && (size_t)error < sizeof names / sizeof names[0] ? names[error] : NULL;
}

void text_put_errno(struct text *t, int error)
{
	const char *name = errno_name(error);

	if (name)
		text_put(t, name);
	else
		text_put_number(t, error);
}
